"""Audits every setting with canaries, and plants faults that the audit must catch: bounds beside claimed epsilons.

`python -m bench.audit --out DIR --seed S` writes `audit.json`, `audit.md` and `audit.png`. A trial is one or two rounds
of the real pipe with 2,000 canaries and a fair coin each (`bench.audit.rounds`), and a lower bound on epsilon that is
too high in at most one trial of a hundred. `--only` repeats the rows that have all of the words in their names. Exit
code 1 if a bound is above its claim or a planted fault is missed once.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.audit.faults import FAULTS, Fault
from bench.audit.figure import draw
from bench.audit.page import audit_page
from bench.audit.rounds import CANARIES, CONFIDENCE, DELTA, Audited, CanaryRounds, Setting
from bench.command import parser_of, say, seconds_left
from bench.measure import environment
from bench.noise.privacy_grid import BY, MECHANISMS, SCHEMES, TRUSTS, UNITS, refusal
from bench.records import Row, store
from fl_core.privacy_plan import budget_view
from secagg import SmpcAggregator
from secagg.aggregator import Aggregator

__all__ = ["Case", "cases", "main", "possible_settings"]

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: its facts in words, for `--only`.
        kind: "honest" (in process), "two rounds", "real parties" or "planted".
        setting: what is configured.
        fault: what is planted, in words; empty otherwise.
        play: one trial in an empty folder, from a seed, at real parties if there are any.
    """

    name: str
    kind: str
    setting: Setting
    fault: str
    play: Callable[[Path, int, Aggregator | None], Audited]


def possible_settings() -> list[Setting]:
    """Every setting that the configuration allows, with all clients there and with two that vanish."""
    every = itertools.product(MECHANISMS, UNITS, TRUSTS, BY, SCHEMES, (1, 3), (0, 2))
    return [setting for setting in itertools.starmap(Setting, every) if refusal(setting.config) is None]


def cases() -> list[Case]:
    """All rows."""
    settings = possible_settings()
    found = [_honest(setting) for setting in settings]
    # An adversary who hears one message alone learns nothing new from where it went.
    real = [s for s in settings if s.parties > 1 and s.by == "clients" and s.unit == "example" and s.trust != "local"]
    found += [_honest(setting, "real parties") for setting in real]
    found += [_two_rounds(Setting(mechanism)) for mechanism in MECHANISMS]
    return found + [_planted(fault) for fault in FAULTS]


def audit_case(case: Case, seed: int, trials: int, aggregator: Aggregator | None) -> Row:
    """All trials of one row."""
    found = []
    for trial in range(trials):
        with tempfile.TemporaryDirectory(prefix="sotto-audit-") as folder:
            found.append(case.play(Path(folder), seed + trial, aggregator))
    setting, bounds = case.setting, [one.bound for one in found]
    claimed = found[0].claimed
    above = sum(one.bound > one.claimed for one in found)
    return {
        "name": case.name,
        "kind": case.kind,
        **({"fault": case.fault} if case.fault else {}),
        "mechanism": setting.mechanism,
        "trust": setting.trust,
        "unit": setting.unit,
        "backend": setting.config.aggregation.backend,
        "noise_by": setting.by,
        "dropout": setting.dropout,
        "clients": setting.config.federation.clients,
        "vanished": setting.vanished,
        "canaries": CANARIES,
        "view": budget_view(setting.config),
        "claimed": claimed,
        "bounds": bounds,
        "bound": statistics.median(bounds),
        "ratio": statistics.median(bounds) / claimed,
        "tried": trials,
        "caught" if case.fault else "above_claim": above,
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = _options()
    options = parser.parse_args(arguments)
    chosen = [case for case in cases() if set(options.only) <= set(case.name.replace(",", "").split())]
    if not chosen:
        parser.error(f"no row has all of the words {' '.join(options.only)} in its name")
    if options.trials < 1:
        parser.error(f"--trials is {options.trials}; allowed: 1 or more")
    torch.set_num_threads(1)
    rows, started = [], time.monotonic()
    with SmpcAggregator(3, _TIMEOUT_S) as parties:  # their processes start with their first round
        for case in chosen:
            aggregator = parties if case.kind == "real parties" else None
            rows.append(audit_case(case, options.seed, options.trials, aggregator))
            _show(rows, len(chosen), started)
    only = f" --only {' '.join(options.only)}" if options.only else ""
    report = {
        "environment": [environment("cpu")],
        "command": f"python -m bench.audit --out DIR --seed {options.seed} --trials {options.trials}{only}",
        "seconds": round(time.monotonic() - started, 1),
        "delta": DELTA,
        "confidence": CONFIDENCE,
        "rows": rows,
    }
    path = options.out / "audit.json"
    store(path, report)
    path.with_suffix(".md").write_text(audit_page(report))
    draw(rows, path.with_suffix(".png"))
    return int(not all(map(_held, rows)))


def _honest(setting: Setting, kind: str = "honest") -> Case:
    def play(folder: Path, seed: int, aggregator: Aggregator | None) -> Audited:
        played = CanaryRounds(setting, folder, seed, aggregator=aggregator)
        return played.audited(played.play())

    return Case(f"{kind} {_words(setting)}", kind, setting, "", play)


def _two_rounds(setting: Setting) -> Case:
    def play(folder: Path, seed: int, _: Aggregator | None) -> Audited:
        played = CanaryRounds(setting, folder, seed)
        return played.audited(played.play() - played.play(sign=-1))

    return Case(f"two rounds {_words(setting)}", "two rounds", setting, "", play)


def _planted(fault: Fault) -> Case:
    def play(folder: Path, seed: int, _: Aggregator | None) -> Audited:
        return fault.play(fault.setting, folder, seed)

    return Case(f"planted {fault.name}, {_words(fault.setting)}", "planted", fault.setting, fault.name, play)


def _words(setting: Setting) -> str:
    backend = setting.config.aggregation.backend
    gone = f"vanished-{setting.vanished}"
    return f"{setting.mechanism} {setting.trust} {setting.unit} {backend} by-{setting.by} {setting.dropout} {gone}"


def _show(rows: list[Row], of: int, started: float) -> None:
    row = rows[-1]
    bad = [one for one in rows if not _held(one)]
    left = seconds_left(started, len(rows), of)
    figures = f"claimed {row['claimed']:.2f}, bound {row['bound']:.2f}"
    say(f"{len(rows)} of {of}: {row['name']}: {figures}; {len(bad)} wrong, {left:.0f} s left")


def _held(row: Row) -> bool:
    """Whether no bound is above its claim, or all are where a fault is planted."""
    return bool(row["caught"] == row["tried"]) if "fault" in row else not row["above_claim"]


def _options() -> argparse.ArgumentParser:
    parser = parser_of("audit", __doc__, "audit.json, audit.md and audit.png")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows with all of these words")
    parser.add_argument("--seed", type=int, default=1, help="of the first trial; the next has the next one")
    parser.add_argument("--trials", type=int, default=5, help="of each row")
    return parser


if __name__ == "__main__":
    sys.exit(main())
