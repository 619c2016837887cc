"""Samples of a process that nobody ran."""

from __future__ import annotations

import random

from bench.soak.samples import Sample


def series(count=120, **changes):
    """Samples of a flat process, but for what `changes` says: a function of the round."""
    flat = {"rss": 2e8, "pss": 1.5e8, "uss": 1e8, "descriptors": 7, "threads": 3, "children": 0, "objects": 50_000}
    noise = random.Random(1)
    return [
        Sample(
            "run",
            1,
            float(number),
            5 * number,
            **{
                name: int(
                    changes[name](5 * number) if name in changes else value + (name == "uss") * noise.gauss(0, 4096)
                )
                for name, value in flat.items()
            },
            cpu_s=changes["cpu_s"](5 * number) if "cpu_s" in changes else 0.05 * number,
        )
        for number in range(count)
    ]
