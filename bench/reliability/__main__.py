"""The page on reliability: what the recorded runs of the checks say, each figure beside the command that makes it.

`python -m bench.reliability [--check]` writes `docs/reliability.md` from `bench/results/reliability/*.json`, or says
whether it is what they give. It measures nothing, and takes no figure from anywhere else.
"""

from __future__ import annotations

import sys

from bench.command import parser_of, say
from bench.places import RESULTS, ROOT
from bench.records import load
from bench.reliability.page import reliability_page
from bench.reliability.sections import SECTIONS

__all__ = ["main"]

CHECKS = RESULTS / "reliability"
PAGE = ROOT / "docs" / "reliability.md"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("reliability", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is another")
    options = parser.parse_args(arguments)
    page = reliability_page({name: load(CHECKS / f"{name}.json") for name in SECTIONS})
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
