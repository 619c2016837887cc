"""Flat or not: what a watch over one process amounts to, by rules and limits that are fixed before it begins.

Memory and objects: Theil-Sen's slope over the second half (the median of all pairwise slopes), and its 95 % interval;
the whole interval must be at or below the limit. Descriptors, threads and children: the fewest of a late stretch must
not be above the fewest of an early one. What leaks is always there, and what is open for a moment is not, however
often a busy machine looks just then; a median of few samples is at its mercy. Processor time a round:
its Theil-Sen growth over the second half must be below a share of its median.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from scipy.stats import theilslopes

from bench.soak.samples import Sample

__all__ = ["Limits", "assess"]

_HANDLES = ("descriptors", "threads", "children")
_LEAST_SAMPLES = 8  # in a half: fewer say nothing


@dataclass(frozen=True)
class Limits:
    """What counts as flat.

    Attributes:
        bytes_a_round: most growth of private memory (USS), in bytes a round.
        objects_a_round: most growth of tracked Python objects a round.
        cpu_growth: most growth of processor time a round over the second half, as a share of its median.
    """

    bytes_a_round: float = 1024.0
    objects_a_round: float = 8.0
    cpu_growth: float = 0.1


def assess(
    samples: Sequence[Sample],
    limits: Limits,
    rounds: bool = True,
    quiet: tuple[Sequence[Sample], Sequence[Sample]] | None = None,
) -> dict[str, Any]:
    """Figures and verdicts of one process's samples, and `problems`: what is not flat, in words.

    Args:
        samples: of one process, in order of time; of the same life, or of equal ones after restarts.
        limits: what counts as flat.
        rounds: whether rounds are much alike, so that processor time a round means something.
        quiet: two stretches whose descriptors, threads and children are compared; None: second and last quarter.
    """
    who = samples[0].who
    half = [s for s in samples if s.round >= (samples[0].round + samples[-1].round) / 2]
    found: dict[str, Any] = {"samples": len(samples), "limits": asdict(limits)}
    if len(half) < _LEAST_SAMPLES:
        return found | {"problems": [f"{who}: {len(half)} samples in the second half are too few to judge by"]}
    problems: list[str] = []
    for name, limit, unit in (
        ("uss", limits.bytes_a_round, "bytes"),
        ("objects", limits.objects_a_round, "objects"),
    ):
        points = [(s.round, getattr(s, name)) for s in half if getattr(s, name) is not None]
        if len(points) < _LEAST_SAMPLES:
            continue
        slope = _slope(points)
        found[name] = {"first": points[0][1], "last": points[-1][1], **slope}
        if slope["high"] > limit:
            problems.append(
                f"{who}: {name} grow by {slope['a_round']:.1f} {unit} a round "
                f"({slope['low']:.1f} to {slope['high']:.1f}); allowed: {limit:g}"
            )
    for name in ("rss", "pss"):
        found[name] = {"first": getattr(half[0], name), "last": getattr(half[-1], name)}
        found[name] |= _slope([(s.round, getattr(s, name)) for s in half])
    quarter = len(samples) // 4
    early, late = quiet or (samples[quarter : 2 * quarter], samples[-quarter:])
    if not early or not late:
        problems.append(f"{who}: there was no quiet stretch to compare descriptors by")
    for name in _HANDLES if early and late else ():
        before = min(getattr(s, name) for s in early)
        after = min(getattr(s, name) for s in late)
        found[name] = {"before": before, "after": after, "most": max(getattr(s, name) for s in samples)}
        if after > before:
            problems.append(f"{who}: {name} grew from {before} to {after}; allowed: none")
    if rounds:
        found["cpu"] = _processor(half)
        if found["cpu"]["growth"] > limits.cpu_growth:
            problems.append(
                f"{who}: processor time a round grew by {found['cpu']['growth']:.0%} over the second half; "
                f"allowed: {limits.cpu_growth:.0%}"
            )
    return found | {"problems": problems}


def _slope(points: Sequence[tuple[int, float]]) -> dict[str, float]:
    x, y = zip(*points, strict=True)
    slope, _, low, high = theilslopes(y, x, 0.95)
    return {"a_round": round(float(slope), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def _processor(half: Sequence[Sample]) -> dict[str, float]:
    """Seconds of processor time a round, and by what share of it they grow from the first of these to the last."""
    points = [
        ((a.round + b.round) // 2, (b.cpu_s - a.cpu_s) / (b.round - a.round))
        for a, b in pairwise(half)
        if b.round > a.round and b.pid == a.pid
    ]
    middle = statistics.median(cost for _, cost in points)
    x, y = zip(*points, strict=True)
    slope, _, low, high = (float(value) * (half[-1].round - half[0].round) for value in theilslopes(y, x, 0.95))
    scale = middle or 1.0
    return {
        "seconds_a_round": round(middle, 6),
        "growth": round(slope / scale, 4),
        "low": round(low / scale, 4),
        "high": round(high / scale, 4),
    }
