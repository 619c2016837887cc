"""The recorded pages, each from the recorded figures beside it: for when what a page says has changed.

`python -m bench.pages` writes all of them anew, `--check` says whether they are what their figures give, with exit code
1 if not. It measures nothing and changes no figure. Pages that several files make are `bench.aot`'s,
`bench.kernels_cpu`'s and `bench.reliability`'s, whose own commands write them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.attacks.page import attacks_page
from bench.audit.page import audit_page
from bench.command import parser_of, say
from bench.crashes.page import crashes_page
from bench.fuzz.page import fuzz_page
from bench.gaussian_tails import gaussian_page
from bench.leaks.page import leaks_page
from bench.membership.page import membership_page
from bench.norm_check import norm_check_page
from bench.places import RESULTS
from bench.records import Part, load
from bench.rounds.page import rounds_page
from bench.sampler_timing.page import timing_page
from bench.secagg.page import aggregation_page
from bench.soak.page import soak_page
from bench.variance.page import variance_page

__all__ = ["PAGES", "main"]

PAGES: dict[str, Callable[[Part], str]] = {
    "reliability/attacks": attacks_page,
    "reliability/audit": audit_page,
    "reliability/crashes": crashes_page,
    "reliability/fuzz": fuzz_page,
    "reliability/leaks": leaks_page,
    "reliability/membership": membership_page,
    "reliability/sampler_timing": timing_page,
    "reliability/soak": soak_page,
    "reliability/variance": variance_page,
    "gaussian_tails": gaussian_page,
    "norm_check": norm_check_page,
    "rounds/rounds": rounds_page,
    "secagg/secagg": aggregation_page,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("pages", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is another")
    options = parser.parse_args(arguments)
    others = []
    for name, page in PAGES.items():
        path = RESULTS / f"{name}.md"
        text = page(load(path.with_suffix(".json")))
        if path.read_text() != text:
            others.append(path)
            if not options.check:
                path.write_text(text)
    for path in others:
        say(f"{path} is not what the figures give; run python -m bench.pages" if options.check else f"{path} is new")
    return int(options.check and bool(others))


if __name__ == "__main__":
    sys.exit(main())
