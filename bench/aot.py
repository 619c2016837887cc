"""Registers, spills and shared memory of every kernel on every architecture, without a GPU.

`python -m bench.aot` prints the table, `--write` records it in `bench/results/aot.json` and `aot.md` under the
installed Triton's version, `--check` compares with what is recorded. Exit code 1 for spills or differences.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

# The compiler's own default changes between versions; results must not.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
os.environ.pop("TRITON_INTERPRET", None)

import triton

from bench.places import RESULTS
from kernels.gpu.aot import TARGETS, all_variants, compile_variant


def derive() -> dict[str, dict[str, dict[str, int]]]:
    """Resources by variant and architecture, compiled now."""
    table = {}
    for variant in all_variants():
        table[variant.name] = {target: asdict(compile_variant(variant, target)) for target in TARGETS}
        print(
            f"{variant.name:40s}", *(f"{t}: {r}" for t, r in table[variant.name].items()), file=sys.stderr, flush=True
        )
    return table


def markdown(recorded: dict[str, dict[str, dict[str, dict[str, int]]]]) -> str:
    """The recorded tables as one Markdown page."""
    lines = [
        "# Kernels compiled ahead of time",
        "",
        "`python -m bench.aot --write`, no GPU: registers / spills (bytes; registers on gfx942) / shared bytes.",
    ]
    for version, table in sorted(recorded.items()):
        lines += [
            "",
            f"## Triton {version}",
            "",
            "| kernel | " + " | ".join(TARGETS) + " |",
            "|---|" + "---|" * len(TARGETS),
        ]
        for name, row in table.items():
            cells = [f"{r['registers']} / {r['spilled']} / {r['shared']}" for r in (row[t] for t in TARGETS)]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    table = derive()
    spills = [f"{n} on {t}" for n, row in table.items() for t, r in row.items() if r["spilled"]]
    path = RESULTS / "aot.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    differences = []
    if options.write:
        recorded[triton.__version__] = table
        path.write_text(json.dumps(recorded, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(recorded))
    elif options.check:
        if triton.__version__ not in recorded:
            print(f"no table is recorded for Triton {triton.__version__}; recorded: {', '.join(recorded)}")
            return 2
        known = recorded[triton.__version__]
        differences = [n for n in sorted({*known, *table}) if known.get(n) != table.get(n)]
    print(json.dumps({"variants": len(table), "spills": spills, "differences": differences}))
    return 1 if spills or differences else 0


if __name__ == "__main__":
    sys.exit(main())
