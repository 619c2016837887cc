"""From counts of `bench.fuzz` to a Markdown page."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part

__all__ = ["fuzz_page"]


def fuzz_page(part: Part) -> str:
    """One page of what was tried and what came of it."""
    rows = part["rows"]
    tried = sum(row["tried"] for row in rows.values())
    broken = sum(len(row["violations"]) for row in rows.values())
    lines = [
        "# Fuzzing: what reaches Sotto from outside",
        "",
        *measured(part["environment"]),
        "",
        f"{tried:,} inputs, {broken} violations. An input is a good one with bytes flipped, cut, spliced or repeated, "
        "random bytes, or a good document with one or two things wrong (a value of another kind or size, a key renamed "
        "or given twice, deep nesting, YAML aliases, lengths and shapes that lie, archives that unpack to 300 MiB). "
        "Refused: in one sentence that names the place. Accepted: read, and with a meaning that is right; of sealed "
        "parts, of ledgers and checkpoints with their digests, and of cached rows nothing else than what was written "
        "may be accepted. Violation: any other exception, a sentence that is none, a wrong meaning, more than "
        "64 MiB of memory above the input (posts, bases and adapters: what their libraries need, see the JSON), or no "
        "end within 30 s.",
        "",
        *table(
            ["surface", "tried", "refused in a sentence", "accepted", "violations", "peak memory", "slowest"],
            [
                [
                    row["what"], f"{row['tried']:,}", f"{row['refused']:,}", f"{row['accepted']:,}",
                    len(row["violations"]), f"{row['peak'] / 2**20:.1f} MiB", f"{row['slowest_s']:.2f} s",
                ]
                for row in rows.values()
            ],
        ),
        "",
        *(f"* {row['what']}: `{row['command']}` ({row['seconds']:.0f} s)" for row in rows.values()),
        "",
    ]  # fmt: skip
    found = [f"* seed `{v['seed']}`: {v['what']}" for row in rows.values() for v in row["violations"]]
    return "\n".join([*lines, "## Violations", "", *found, ""] if found else lines)
