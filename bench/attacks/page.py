"""From rows of attacks to one Markdown page: what is caught, what is not protected, what did not hold."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["attacks_page"]


def attacks_page(part: Part) -> str:
    """One page; `part` as `bench.attacks` stores it."""
    rows: dict[str, Row] = part["rows"]
    caught = {name: row for name, row in rows.items() if row["by"] != "nobody"}
    open_ones = {name: row for name, row in rows.items() if row["by"] == "nobody"}
    falsified = [row for row in caught.values() if row["check"] and not row["without"].startswith("nothing more")]
    behind = [row for row in caught.values() if row["check"] and row["without"].startswith("nothing more")]
    lines = [
        "# Attacks: caught / tried",
        "",
        *measured(part["environment"]),
        "",
        f"{sum(row['caught'] for row in caught.values())} of {len(caught)} attacks were caught that are said to be; "
        f"{len(open_ones)} more are known to work, and are listed with the document that says so. {len(falsified)} of "
        f"the caught ones won once the check that had caught them was taken away, {len(behind)} met a second check "
        f"then, {len(caught) - len(falsified) - len(behind)} were not tried without.",
        "",
        "Parties are real ones over TLS with journals on disk, clients the nodes of a deployment under Flower with "
        "keys of their own, without Flower's transport; all are in one process, so that one check can be taken away "
        "and nothing else is different. The victim is client 0. Sums of `coordinator`'s attacks are without noise, so "
        "that a difference is the vector itself: noise is the first line of defence, these checks are the second. "
        "Where nobody says a word, the sentence is ours and begins with `measured`.",
        "",
        f"All: `{part['command']}`. One: `--only NAME`.",
        "",
        "## Caught",
        "",
        *table(
            ["name", "attacker", "what it tries", "caught by", "the sentence", "with which check removed: gains what"],
            [
                [name, row["attacker"], row["tries"], row["by"], row["sentence"], _removed(row)]
                for name, row in caught.items()
            ],
        ),
        "",
        "## Not protected",
        "",
        *table(
            ["name", "attacker", "what it tries", "gains", "said where", "in these words"],
            [
                [name, row["attacker"], row["tries"], row["gained"], row["document"], row["sentence"]]
                for name, row in open_ones.items()
            ],
        ),
        "",
    ]
    broken = [f"* {name}: {why}" for name, row in rows.items() for why in row["why_not"]]
    if broken:
        lines += ["## What did not hold", "", *broken, ""]
    return "\n".join(lines)


def _removed(row: Row) -> str:
    return "not tried" if row["check"] is None else f"{row['check']}: {row['without']}"
