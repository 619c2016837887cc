"""Plants secrets, runs real commands whole and broken, and searches everything that was written for the secrets.

`python -m bench.leaks --out DIR` writes `leaks.json` and `leaks.md`. Searched are standard output and error, every file
of run folders, parties' folders and caches, temporary files as they appear, command lines and environments in /proc,
arguments pickled for workers, and what printing every living object of the product's gives. As a control, a traceback
with local variables, which Sotto never makes, is searched too, and must show secrets. Key files' modes and the limit
on core dumps are looked at as well. Exit code 1 if a secret was found, or a case did not end as it had to.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.command import add_scratch, parser_of, say
from bench.forks import warm_up
from bench.leaks.cases import CASES
from bench.leaks.page import leaks_page
from bench.leaks.trial import try_case
from bench.measure import environment
from bench.records import load_by_name, store

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    warm_up()
    import secagg.party.state  # noqa: F401 (imports CrypTen, once for all forks)

    path = options.out / "leaks.json"
    part = load_by_name(path)
    part |= {"environment": [environment("cpu")], "command": "python -m bench.leaks --out DIR"}
    for number, name in enumerate(options.cases, 1):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="sotto-leaks-", dir=options.scratch) as scratch:
            row = try_case(CASES[name], Path(scratch).resolve())
        part["rows"][name] = row
        seconds = time.monotonic() - started
        found = f"{len(row['found'])} found, {row['wrong']}"
        say(f"{number} of {len(options.cases)}: {name}: {found}, {seconds:.0f} s")
        store(path, part)
        path.with_suffix(".md").write_text(leaks_page(part))
    rows = [part["rows"][name] for name in options.cases]
    return int(any(row["found"] or row["wrong"] or not row["control"] for row in rows))


def _options() -> argparse.ArgumentParser:
    parser = parser_of("leaks", __doc__, "leaks.json and leaks.md")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    add_scratch(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
