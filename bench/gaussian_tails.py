"""A long look at the ChaCha20 Gaussian: Kolmogorov-Smirnov, and its tails to 6.5 standard deviations.

`python -m bench.gaussian_tails --out bench/results/gaussian_tails` draws 10^9 normals for both under each of `--keys`
keys; `--more` draws further ones for the tails alone, since 10^9 hold less than one draw beyond 6.5. They are counted
in 2^20 cells of equal probability, so that the distance is known to within one cell. Keys are fixed: anyone can repeat
the numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from bench.command import parser_of
from bench.markdown import table
from bench.measure import environment
from kernels.gaussian import gaussian_noise

CELLS = 2**20
PIECE = 2**20
TAILS = (3.0, 4.0, 4.5, 5.0, 5.5, 5.68, 6.0, 6.5)


def examine(draws: int, more: int, keys: int, device: str) -> dict[str, Any]:
    """Cells and tails of `draws` normals under each of the keys, and tails alone of `more` further ones."""
    tails = torch.zeros(2, len(TAILS), dtype=torch.int64, device=device)
    largest, runs = 0.0, []
    started = time.perf_counter()
    for key in range(keys):
        cells = torch.zeros(CELLS, dtype=torch.int64, device=device)
        moments = torch.zeros(4, dtype=torch.float64, device=device)
        for x in _normals(draws, key, device):
            cells += torch.bincount((torch.special.ndtr(x) * CELLS).long().clamp_(max=CELLS - 1), minlength=CELLS)
            moments += torch.stack([(x**power).sum() for power in (1, 2, 3, 4)])
            largest = max(largest, _count_far(x, tails))
        chi_square = float(stats.chisquare(cells.cpu().double().numpy()).pvalue)
        runs.append(distance(cells.cpu(), draws) | {"chi_square_p": chi_square, "moments": (moments / draws).tolist()})
    for x in _normals(more, keys, device):
        largest = max(largest, _count_far(x, tails))
    total = draws * keys + more
    return {
        "draws": draws,
        "tail_draws": total,
        "seconds": time.perf_counter() - started,
        "kolmogorov_smirnov": runs,
        "tails": [tail(t, tails[:, i].tolist(), total) for i, t in enumerate(TAILS)],
        "largest": largest,
    }


def _normals(draws: int, key: int, device: str) -> Iterator[Tensor]:
    secret = hashlib.sha256(f"sotto gaussian tails {key}".encode()).digest()
    for start in range(0, draws, PIECE):
        # A nonce has 2^35 normals; every 2^34 the next one.
        nonce = (start >> 34).to_bytes(12, "little")
        yield gaussian_noise(min(PIECE, draws - start), secret, nonce, device, start % 2**34)
        if start // PIECE % 256 == 0:
            print(f"\rkey {key}: {start / draws:.0%}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _count_far(x: Tensor, tails: Tensor) -> float:
    """Adds the numbers above and below every threshold to `tails [2, n]`; returns the largest magnitude."""
    thresholds = torch.tensor(TAILS, dtype=torch.float64, device=x.device)
    far = x[x.abs() > TAILS[0]]
    tails[0] += (far[:, None] > thresholds).sum(0)
    tails[1] += (far[:, None] < -thresholds).sum(0)
    return float(far.abs().max()) if len(far) else 0.0


def distance(cells: Tensor, draws: int) -> dict[str, float]:
    """Kolmogorov-Smirnov distance at the cells' edges, and the least p-value it can mean.

    Between edges the distance may be larger by at most the heaviest cell.
    """
    edges = torch.arange(1, CELLS + 1, dtype=torch.float64) / CELLS
    gap = float((cells.cumsum(0).double() / draws - edges).abs().max())
    most = gap + max(float(cells.max()) / draws, 1 / CELLS)
    return {"at_edges": gap, "at_most": most, "p_at_least": float(stats.kstwobign.sf(most * math.sqrt(draws)))}


def tail(threshold: float, counts: list[int], draws: int) -> dict[str, float]:
    """Draws beyond a threshold on either side, against the exact expectation (two-sided Poisson p-value)."""
    expected = draws * 2 * float(stats.norm.sf(threshold))
    seen = sum(counts)
    p = 2 * min(float(stats.poisson.cdf(seen, expected)), float(stats.poisson.sf(seen - 1, expected)))
    return {"beyond": threshold, "above": counts[0], "below": counts[1], "expected": expected, "p": min(1.0, p)}


def gaussian_page(report: dict[str, Any]) -> str:
    """The report as a page."""
    lines = [
        "# The ChaCha20 Gaussian",
        "",
        f"{report['environment']}",
        "",
        f"Kolmogorov-Smirnov over {report['draws']:.0e} draws under each of {len(report['kolmogorov_smirnov'])} keys, "
        f"in {CELLS} cells of equal probability: distance at the cells' edges, the most it can be between them, and "
        "the p-value of that.",
        "",
        *table(
            ["key", "distance", "at most", "p at least", "chi-square of the cells, p", "mean", "variance"],
            [
                [
                    key, f"{run['at_edges']:.2e}", f"{run['at_most']:.2e}", f"{run['p_at_least']:.3f}",
                    f"{run['chi_square_p']:.3f}", f"{run['moments'][0]:.1e}", f"{run['moments'][1]:.6f}",
                ]
                for key, run in enumerate(report["kolmogorov_smirnov"])
            ],
        ),
        "",
        f"Tails of {report['tail_draws']:.2e} draws in all; the largest is {report['largest']:.3f}.",
        "",
        *table(
            ["beyond", "above", "below", "expected on both sides", "p"],
            [
                [row["beyond"], row["above"], row["below"], f"{row['expected']:.2f}", f"{row['p']:.3f}"]
                for row in report["tails"]
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 1 if a p-value is below 1e-4."""
    parser = parser_of("gaussian_tails", __doc__)
    parser.add_argument("--draws", type=float, default=1e9, help="under each key")
    parser.add_argument("--more", type=float, default=0.0, help="further draws, for the tails alone")
    parser.add_argument("--keys", type=int, default=1, help="how many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="written as OUT.json and OUT.md")
    options = parser.parse_args(arguments)
    found = examine(int(options.draws), int(options.more), options.keys, options.device)
    report = {"environment": environment(options.device)} | found
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(gaussian_page(report))
    print(gaussian_page(report))
    p_values = [run["p_at_least"] for run in found["kolmogorov_smirnov"]] + [row["p"] for row in found["tails"]]
    return int(min(p_values) < 1e-4)


if __name__ == "__main__":
    sys.exit(main())
