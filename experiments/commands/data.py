"""`sotto data`: which data sets are here, where from, whether they are what was published; and texts of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Data sets: list them, verify their checksums, import your own.")
    group.command("list")(list_)
    group.command("verify")(verify)
    group.command("import")(import_)
    app.add_typer(group, name="data")


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Every known data set and where it would come from."""
    _show(as_json)


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Check every file against its published checksum; exit code 2 if one that is there is damaged."""
    damaged = _show(as_json)
    if damaged:
        from experiments.datasets import DatasetCorrupt

        raise DatasetCorrupt(f"damaged: {', '.join(damaged)}; remove or replace these files")


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or JSON lines, each also as .gz: a row a text, with its user")],
    out: Annotated[Path, typer.Option(help="Folder that takes train.jsonl and test.jsonl")],
    user_column: Annotated[str, typer.Option(help="Column or key that names the user")] = "user",
    text_column: Annotated[str, typer.Option(help="Column or key that holds the text")] = "text",
    encoding: Annotated[str, typer.Option(help="Of the file, for example cp1252")] = "utf-8",
    delimiter: Annotated[str | None, typer.Option(help="Between fields; default: comma, or tab for .tsv")] = None,
    min_texts: Annotated[int, typer.Option(min=1, help="Leave out users with fewer texts")] = 1,
    test_share: Annotated[float, typer.Option(help="Share of the users who are held out and scored on")] = 0.2,
    seed: Annotated[int, typer.Option(help="Public seed of who is held out")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the posts in the folder")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Check texts of your own, hold out users, and write a folder that `sotto run` takes."""
    import json

    from rich.console import Console

    from experiments.commands.next_command import refuse_reference, run_on
    from experiments.datasets.own_texts import read_texts
    from experiments.datasets.user_split import split_users, write_split

    refuse_reference(out)
    with Console(stderr=True).status("", spinner="line") as status:
        texts = read_texts(file, user_column, text_column, encoding, delimiter, status.update)
        split = split_users(texts.rows, test_share, min_texts, seed)
        write_split(split, out, overwrite)
    command = run_on(out, split.train_users)
    if as_json:
        counts = {
            "train": {"users": split.train_users, "texts": len(split.train)},
            "test": {"users": split.test_users, "texts": len(split.test)},
            "left_out": {
                "rows_without_user": texts.without_user,
                "texts_without_word": texts.without_word,
                "users_with_few_texts": split.few_users,
                "their_texts": split.few_texts,
            },
        }
        print(json.dumps({"folder": str(out), **counts, "command": command}, sort_keys=True))
        return
    print(f"train: {split.train_users:,} users, {len(split.train):,} texts ({out / 'train.jsonl'})")
    print(f"test:  {split.test_users:,} users, {len(split.test):,} texts ({out / 'test.jsonl'}), who train nothing")
    for count, why in (
        (texts.without_user, "rows without a user"),
        (texts.without_word, "texts without a letter"),
        (split.few_texts, f"texts of users with fewer than {min_texts} ({split.few_users:,} users)"),
    ):
        if count:
            print(f"left out: {why}: {count:,}")
    print("Scores on the test users' texts have no noise, so nothing protects these users: hold out whom that suits.")
    print(f"next:  {command}")


def _show(as_json: bool) -> list[str]:
    import json

    from rich.console import Console
    from rich.table import Table

    from experiments.datasets import catalogue

    entries = catalogue()
    if as_json:
        print(json.dumps({"datasets": [asdict(entry) for entry in entries]}, sort_keys=True, default=str))
    else:
        table = Table("data set", "from", "here", "intact")
        for entry in entries:
            table.add_row(entry.name, entry.origin, "yes" if entry.present else "no", _intact(entry.checksums_ok))
        Console().print(table)
    return [entry.name for entry in entries if entry.checksums_ok is False]


def _intact(value: bool | None) -> str:
    return "-" if value is None else ("yes" if value else "NO")
