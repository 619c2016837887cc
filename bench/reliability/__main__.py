"""The page on reliability: what the recorded runs of the checks say, each figure beside the command that makes it.

`python -m bench.reliability [--check]` writes `docs/reliability.md` from `bench/results/reliability/*.json`, or says
whether it is what they give. It measures nothing, and takes no figure from anywhere else.
"""

from __future__ import annotations

import json
import sys

from bench.command import parser_of, say
from bench.markdown import table
from bench.places import RESULTS, ROOT
from bench.records import Part
from bench.reliability.sections import SECTIONS, soak_length
from bench.soak.page import SOAKS

__all__ = ["main", "reliability_page"]

CHECKS = RESULTS / "reliability"
PAGE = ROOT / "docs" / "reliability.md"


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
    crashes = _total(parts["crashes"], "survived", "tried")
    fuzz = parts["fuzz"]["rows"].values()
    attacks, claimed = _caught(parts["attacks"])
    audit = parts["audit"]["rows"]
    variance = parts["variance"]
    membership = parts["membership"]["rows"].values()
    exceeded = sum(len(row["violations"]) for row in membership)
    tested = sum(row["tried"] for row in membership)
    leaks = parts["leaks"]["rows"].values()
    rows = [
        ("processes, parties, workers and disks broken at random", f"{crashes[0]} of {crashes[1]} survived"),
        (
            "malformed inputs",
            f"{sum(r['tried'] for r in fuzz):,} tried, {sum(len(r['violations']) for r in fuzz)} not refused in a "
            "sentence or wrongly accepted",
        ),
        ("attacks that are said to be caught", f"{attacks} of {claimed} caught"),
        ("planted faults of privacy: audit", "{} of {} caught".format(*_planted_audit(audit))),
        ("planted faults of privacy: variance", "{} of {} caught".format(*_planted_variance(variance))),
        ("audit bounds above the claimed epsilon", "{} of {}".format(*_bounds_above(audit))),
        (
            "sums whose noise is not what the ledger says",
            f"{sum(not row['holds'] for row in variance['rows'])} of {len(variance['rows'])}",
        ),
        ("loss attacks on released models that exceed a claim", f"{exceeded} of {tested} checks"),
        (
            "secrets in what runs write",
            f"{sum(len(row['found']) for row in leaks)} in {sum(sum(r['searched'].values()) for r in leaks):,} bytes",
        ),
        *_soak_summary(parts["soak"]),
    ]
    return table(("check", "found"), rows)


def _total(part: Part, *keys: str) -> list[int]:
    return [sum(row.get(key, 0) for row in part["rows"].values()) for key in keys]


def _caught(part: Part) -> tuple[int, int]:
    said = [row for row in part["rows"].values() if not row["document"]]
    return sum(row["caught"] for row in said), len(said)


def _planted_audit(rows: list[Part]) -> tuple[int, int]:
    planted = [row for row in rows if row["kind"] == "planted"]
    return sum(sum(b > row["claimed"] for b in row["bounds"]) for row in planted), sum(
        len(r["bounds"]) for r in planted
    )


def _planted_variance(part: Part) -> tuple[int, int]:
    return sum(row["caught"] for row in part["planted"]), len(part["planted"])


def _bounds_above(rows: list[Part]) -> tuple[int, int]:
    honest = [row for row in rows if row["kind"] != "planted"]
    return sum(sum(b > row["claimed"] for b in row["bounds"]) for row in honest), sum(len(r["bounds"]) for r in honest)


def _soak_summary(part: Part) -> list[tuple[str, str]]:
    rows = []
    for name, row in part["rows"].items():
        rows.append((f"long runs: {SOAKS[name]}", f"{soak_length(row)}; {len(row['problems'])} things did not hold"))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("reliability", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is another")
    options = parser.parse_args(arguments)
    page = reliability_page({name: json.loads((CHECKS / f"{name}.json").read_text()) for name in SECTIONS})
    if options.check:
        if PAGE.read_text() != page:
            say(f"{PAGE} is not what the results give; run python -m bench.reliability")
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
