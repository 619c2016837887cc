"""`sotto suggest`: the next words of a tuned model beside its base's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(suggest)


def suggest(
    text: Annotated[str, typer.Argument(help="What was typed so far")],
    adapter: Annotated[Path, typer.Option(help="Run folder of a language-model run, or a folder with its adapter")],
    base: Annotated[
        str | None, typer.Option(help="Base model; default: the one that the adapter was trained on")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=50, help="How many words")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else")] = False,
) -> None:
    """Show the next words that the tuned model and its base suggest after a text."""
    from rich.console import Console
    from rich.table import Table

    from experiments.language.adapted import load_adapted
    from experiments.language.suggestions import suggest as words_after

    model, tokenizer, name = load_adapted(adapter, base)
    positions = getattr(model.get_base_model().config, "max_position_embeddings", None) or 1024
    tuned = words_after(model, tokenizer, text, count, positions)
    with model.disable_adapter():
        untuned = words_after(model, tokenizer, text, count, positions)
    if as_json:
        shown = {
            key: [{"word": one.word, "probability": one.probability} for one in some]
            for key, some in (("base", untuned), ("tuned", tuned))
        }
        print(json.dumps({"text": text, "model": name, **shown}, sort_keys=True, allow_nan=False))
        return
    table = Table("", f"base ({name})", "", "tuned", "", title=f"after “{text}”")
    for place, (before, after) in enumerate(zip(untuned, tuned, strict=True), 1):
        table.add_row(str(place), before.word, f"{before.probability:.1%}", after.word, f"{after.probability:.1%}")
    Console().print(table)
