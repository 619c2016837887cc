"""Registers, spills and shared memory of every kernel on every architecture, without a GPU.

`python -m bench.aot` makes the table, `--write` records it in `bench/results/aot.json` and `aot.md` under the
installed Triton's version, `--check` compares with what is recorded. Exit code 1 for spills or differences.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

# The compiler's own default changes between versions; results must not.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
os.environ.pop("TRITON_INTERPRET", None)

import triton

from bench.command import parser_of, say
from bench.markdown import table
from bench.places import RESULTS
from kernels.gpu.aot import TARGETS, all_variants, compile_variant


def derive() -> dict[str, dict[str, dict[str, int]]]:
    """Resources by variant and architecture, compiled now."""
    found = {}
    for variant in all_variants():
        found[variant.name] = {target: asdict(compile_variant(variant, target)) for target in TARGETS}
        say(" ".join([f"{variant.name:40s}", *(f"{t}: {r}" for t, r in found[variant.name].items())]))
    return found


def markdown(recorded: dict[str, dict[str, dict[str, dict[str, int]]]]) -> str:
    """The recorded tables as one Markdown page."""
    lines = [
        "# Kernels compiled ahead of time",
        "",
        "`python -m bench.aot --write`, no GPU: registers / spills (bytes; registers on gfx942) / shared bytes.",
    ]
    for version, found in sorted(recorded.items()):
        lines += [
            "",
            f"## Triton {version}",
            "",
            *table(
                ["kernel", *TARGETS], [[name, *map(_cell, (row[t] for t in TARGETS))] for name, row in found.items()]
            ),
        ]
    return "\n".join(lines) + "\n"


def _cell(resources: dict[str, int]) -> str:
    return f"{resources['registers']} / {resources['spilled']} / {resources['shared']}"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("aot", __doc__)
    parser.add_argument("--write", action="store_true", help="record the table under the installed Triton's version")
    parser.add_argument("--check", action="store_true", help="compare the table with what is recorded")
    options = parser.parse_args(arguments)
    found = derive()
    spills = [f"{n} on {t}" for n, row in found.items() for t, r in row.items() if r["spilled"]]
    path = RESULTS / "aot.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    differences = []
    if options.write:
        recorded[triton.__version__] = found
        path.write_text(json.dumps(recorded, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(recorded))
    elif options.check:
        if triton.__version__ not in recorded:
            print(f"no table is recorded for Triton {triton.__version__}; recorded: {', '.join(recorded)}")
            return 2
        known = recorded[triton.__version__]
        differences = [n for n in sorted({*known, *found}) if known.get(n) != found.get(n)]
    print(json.dumps({"variants": len(found), "spills": spills, "differences": differences}))
    return 1 if spills or differences else 0


if __name__ == "__main__":
    sys.exit(main())
