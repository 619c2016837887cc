"""Whether the noise in an opened sum is what the ledger promises, and whether the promise is what was asked for.

Takes opened sums of zeros; gives rows. The promise is compared with textbook sums of variances, in which nothing of
the product is used, and the noise with the promise.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from bench.records import Row
from bench.variance.grid import CLIENTS, COLLUDERS, DROPOUT, MULTIPLIER, N_MIN, PARTIES, Combination, covered_by
from bench.variance.rounds import Opened

__all__ = ["SIGNIFICANCE", "asked_multiplier", "row_of"]

SIGNIFICANCE = 1e-6  # probability that one right cell is found wrong
_ROUNDING = 1e-3  # relative, of standard deviations up to whole grid steps


def asked_multiplier(combination: Combination, survivors: int) -> float:
    """The noise multiplier that a sum should have by the scheme's definition."""
    c, z = combination, MULTIPLIER
    if c.trust == "central":
        return z
    if c.trust == "local":
        return z * math.sqrt(survivors)
    # Of n_min survivors `COLLUDERS` tell their noise; what is left must be z.
    each = z**2 / (N_MIN - COLLUDERS)
    clients = each * (N_MIN if c.scheme == "xnoise" else survivors)
    aggregators = PARTIES * z**2  # each of them by itself enough
    return math.sqrt({"clients": clients, "aggregators": aggregators, "both": clients + aggregators}[c.by])


def row_of(combination: Combination, opened: Opened) -> Row:
    """Promise, what was realised, and the verdict.

    Attributes of a row: `ratio` of the realised variance to the promised one; `low` and `high`, its interval of
    chi-square with `SIGNIFICANCE`, in which 1 has to be; `promise_holds`, whether the ledger's multiplier is the one
    that was asked for, rounded up by less than a thousandth.
    """
    coordinates = len(opened.total)
    squares = float((opened.total.astype(np.float64) ** 2).sum()) / opened.promised**2
    least, most = stats.chi2.interval(1 - SIGNIFICANCE, coordinates)
    asked = asked_multiplier(combination, opened.survivors)
    promised_right = asked * (1 - 1e-9) <= opened.multiplier <= asked * (1 + _ROUNDING)
    low, high = squares / float(most), squares / float(least)
    return {
        "name": f"{combination}, {CLIENTS - opened.survivors} of {CLIENTS} gone",
        "mechanism": combination.mechanism,
        "trust": combination.trust,
        "unit": combination.unit,
        "backend": combination.backend,
        "noise_by": combination.by,
        "dropout_scheme": combination.scheme,
        "engine": combination.engine,
        "dropout": DROPOUT if opened.survivors < CLIENTS else 0.0,
        "survivors": opened.survivors,
        "coordinates": coordinates,
        "multiplier_asked": asked,
        "multiplier_promised": opened.multiplier,
        "variance_promised": opened.promised**2,
        "variance_realised": squares * opened.promised**2 / coordinates,
        "ratio": squares / coordinates,
        "low": low,
        "high": high,
        "promise_holds": promised_right,
        "holds": bool(promised_right and low <= 1 <= high),
        "tests": covered_by(combination),
    }
