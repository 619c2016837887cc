"""The page on reliability, and its first table: one line a check."""

from __future__ import annotations

from collections.abc import Iterable

from bench.markdown import table
from bench.records import Part, Row
from bench.reliability.sections import SECTIONS, soak_length
from bench.soak.page import SOAKS

__all__ = ["reliability_page"]


def reliability_page(parts: dict[str, Part]) -> str:
    """The page from what each part's JSON file holds."""
    lines = [
        "# Reliability and privacy, tested",
        "",
        "Every figure here was measured by the command beside it and is committed with it; the tests of the suite run "
        "these checks with smaller numbers, and with planted faults that they must find, but for the clock of the "
        "samplers' timing. A check that passes shows that it found nothing, never that there is nothing. What is *not* "
        "protected is in "
        "[SECURITY.md](../SECURITY.md#what-is-not-protected).",
        "",
        *_summary(parts),
    ]
    for name, (title, section) in SECTIONS.items():
        lines += ["", f"## {title}", "", *section(parts[name])]
    return "\n".join(lines) + "\n"


def _summary(parts: dict[str, Part]) -> list[str]:
    """One line a check."""
    crashes = [row for row in parts["crashes"]["rows"].values() if "not_run" not in row]
    fuzz = parts["fuzz"]["rows"].values()
    caught = [row["caught"] for row in parts["attacks"]["rows"].values() if not row["document"]]
    # A bound above the claim: what an audit must find where a fault is planted, and never else.
    above = {
        planted: [
            bound > row["claimed"]
            for row in parts["audit"]["rows"]
            if (row["kind"] == "planted") == planted
            for bound in row["bounds"]
        ]
        for planted in (True, False)
    }
    variance = parts["variance"]
    shown = [row["caught"] for row in variance["planted"]]
    membership = parts["membership"]["rows"].values()
    exceeded = sum(len(row["violations"]) for row in membership)
    leaks = parts["leaks"]["rows"].values()
    rows = [
        (
            "processes, parties, workers and disks broken at random",
            f"{_total(crashes, 'survived')} of {_total(crashes, 'tried')} survived",
        ),
        (
            "malformed inputs",
            f"{_total(fuzz, 'tried'):,} tried, {sum(len(row['violations']) for row in fuzz)} not refused in a "
            "sentence or wrongly accepted",
        ),
        ("attacks that are said to be caught", f"{sum(caught)} of {len(caught)} caught"),
        ("planted faults of privacy: audit", f"{sum(above[True])} of {len(above[True])} caught"),
        ("planted faults of privacy: variance", f"{sum(shown)} of {len(shown)} caught"),
        ("audit bounds above the claimed epsilon", f"{sum(above[False])} of {len(above[False])}"),
        (
            "sums whose noise is not what the ledger says",
            f"{sum(not row['holds'] for row in variance['rows'])} of {len(variance['rows'])}",
        ),
        ("loss attacks on released models that exceed a claim", f"{exceeded} of {_total(membership, 'tried')} checks"),
        (
            "secrets in what runs write",
            f"{sum(len(row['found']) for row in leaks)} in {sum(sum(r['searched'].values()) for r in leaks):,} bytes",
        ),
        *(
            (f"long runs: {SOAKS[name]}", f"{soak_length(row)}; {len(row['problems'])} things did not hold")
            for name, row in parts["soak"]["rows"].items()
        ),
    ]
    return table(("check", "found"), rows)


def _total(rows: Iterable[Row], key: str) -> int:
    return sum(row[key] for row in rows)
