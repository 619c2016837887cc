"""From rows of `bench.sampler_timing` to a Markdown page."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part, Row
from bench.sampler_timing.timing import COUNTED, EVIDENCE

__all__ = ["timing_page"]


def timing_page(part: Part) -> str:
    """One page of times, and of counts beside them."""
    lines = [
        "# Does a sampler's time tell what it drew?",
        "",
        *measured(part["environment"]),
        "",
        f"Command: `{part['command']}`. Batches are timed one by one and classed by their sum of |x|; t is Welch's, of "
        f"the quarter with the largest sums against the quarter with the smallest, the largest over crops; |t| above "
        f"{EVIDENCE} is evidence that time depends on values, below it none was found with so many batches. r is the "
        "correlation of a count with the sum over other batches: keystream bytes drawn, candidates that one look-up "
        "did not accept (each costs an exponential), decisions beyond 64 bits (each costs about a millisecond and "
        "befalls one candidate in 2^28 or fewer, by the words drawn and hardly by the value). "
        "Shuffled: the same times with classes drawn at random.",
        "",
        *table(
            [
                "sampler", "sigma", "draws a batch", "batches", "medians, microseconds", "t", "evidence", "t shuffled",
                "bytes: r", "left open: r", "exact: in all",
            ],
            map(_cells, part["rows"]),
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _cells(row: Row) -> list[object]:
    counted = row["counted"]
    return [
        row["sampler"],
        f"{row['sigma']:,}",
        row["size"],
        f"{row['batches']:,}",
        " / ".join(f"{ns / 1000:.1f}" for ns in row["median_ns"]),
        f"{row['t']:+.1f}",
        "yes" if abs(row["t"]) > EVIDENCE else "none found",
        f"{row['t_shuffled']:+.1f}",
        *(_correlation(counted[count]) for count in ("bytes", "open")),
        f"{counted['exact']['mean'] * min(row['batches'], COUNTED):.0f}",
    ]


def _correlation(found: Row) -> str:
    return "constant" if found["constant"] else f"{found['correlation']:+.3f} (p {found['p']:.3f})"
