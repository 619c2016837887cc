"""From rows of `bench.leaks` to a Markdown page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from bench.leaks.planted import POSTS, SEEDS, USERS
from bench.leaks.search import KEY_ENCODINGS, TEXT_ENCODINGS, VECTOR_ENCODINGS
from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["leaks_page"]


def leaks_page(part: Part) -> str:
    """One page of what was planted, where it was looked for, and what was found."""
    rows = part["rows"].values()
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["secrets"]))
    size = sum(sum(row["searched"].values()) for row in rows)
    bytes_in: Counter[str] = Counter()
    for row in rows:
        bytes_in.update(row["searched"])
    lines = [
        "# Secrets in what was written: found / looked for",
        "",
        *measured(part["environment"]),
        "",
        f"Command: `{part['command']}`. {len(part['rows'])} cases, {sum(row['lives'] for row in rows)} commands, "
        f"{size:,} bytes searched. A piece of 8 bytes of a key, three neighbours of a vector, or half a text is a "
        "find. Control: the same search finds secrets in a traceback with local variables, which Sotto never makes.",
        "",
        *table(
            ["secret", "looked for", "encodings", "found", "where it may be"], [_of_kind(kind, rows) for kind in kinds]
        ),
        "",
        *table(["place", "bytes"], [[name, f"{count:,}"] for name, count in bytes_in.items()]),
        "",
        *table(
            ["case", "what", "commands", "found", "control's finds", "not as it had to be"],
            [
                [name, row["what"], row["lives"], len(row["found"]), row["control"], len(row["wrong"])]
                for name, row in part["rows"].items()
            ],
        ),
        "",
    ]
    for name, row in part["rows"].items():
        lines += [f"* {name}: found {find}" for find in row["found"]] + [f"* {name}: {text}" for text in row["wrong"]]
    return "\n".join(lines).rstrip() + "\n"


def _of_kind(kind: str, rows: Collection[Row]) -> list[object]:
    count = sum(row["secrets"].get(kind, 0) for row in rows)
    found = sum(find["kind"] == kind for row in rows for find in row["found"])
    places = sorted({text.split(": ", 1)[1] for row in rows for text in row["allowed"] if text.startswith(kind)})
    return [kind, f"{count:,}", ", ".join(_encodings(kind)), found, "; ".join(places) or "nowhere"]


def _encodings(kind: str) -> tuple[str, ...]:
    if kind in (POSTS, USERS, SEEDS):
        return TEXT_ENCODINGS
    return VECTOR_ENCODINGS if "vector" in kind or "records" in kind else KEY_ENCODINGS
