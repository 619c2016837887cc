"""Attacks by servers, clients, parties and strangers on the real clients, parties and files: caught by whom, and how.

`python -m bench.attacks --out DIR` writes `attacks.json` and `attacks.md`. Every attack is tried on the product as it
is, and wherever that is sensible again with the one check taken away that had caught it, to see that it wins then.
What is not protected is in the table too, with the document that admits it. Exit code 1 if anything is not as the table
says, 2 for bad arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.attacks import broadcasts, ledger, links, messages, openings, questions, records
from bench.attacks.attack import Attack, try_attack
from bench.attacks.page import attacks_page
from bench.command import parser_of, say
from bench.measure import environment
from bench.records import load_by_name, store

__all__ = ["ATTACKS", "main"]

_MODULES = (openings, messages, links, broadcasts, questions, records, ledger)
ATTACKS: dict[str, Attack] = {attack.name: attack for module in _MODULES for attack in module.ATTACKS}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "attacks.json"
    # Of rows that are not tried now, those that are still in the table stay.
    known = load_by_name(path)["rows"]
    rows = {name: known[name] for name in ATTACKS if name in known}
    names = options.only or list(ATTACKS)
    started = time.monotonic()
    with _quiet():
        for number, name in enumerate(names, 1):
            with tempfile.TemporaryDirectory(prefix="sotto-attacks-") as scratch:
                row = try_attack(ATTACKS[name], Path(scratch).resolve())
            rows[name] = {**row, "command": f"python -m bench.attacks --out DIR --only {name}"}
            what = "as expected" if row["held"] else f"NOT as expected: {row['why_not']}"
            say(f"{number} of {len(names)}, {time.monotonic() - started:.0f} s: {name}: {what}")
    rows = {name: rows[name] for name in ATTACKS if name in rows}
    part = {"environment": [environment("cpu")], "command": "python -m bench.attacks --out DIR", "rows": rows}
    store(path, part)
    path.with_suffix(".md").write_text(attacks_page(part))
    return int(any(not rows[name]["held"] for name in names))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the product's log, hundreds of refusals that are in the table, reaches the terminal."""
    loggers = [logging.getLogger(name) for name in ("secagg", "fl_core")]
    nowhere, before = logging.NullHandler(), [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(nowhere)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(nowhere)
            logger.propagate = propagate


def _options() -> argparse.ArgumentParser:
    parser = parser_of("attacks", __doc__, "attacks.json and attacks.md")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), metavar="NAME", help="attacks (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
