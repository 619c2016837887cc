"""Renyi divergences of integer noise: sums of discrete Gaussians, and Skellam noise.

Takes ratios and grid sizes; gives RDP values or log moments as float64 arrays. A log moment is K(a) = (a - 1) D_a; it
is convex in the order a with K(1) = 0, so between integer orders the straight line through two upper bounds is an upper
bound (`interpolate_moments`). Nothing here knows about deltas, clients or adversaries, and nothing here may be smaller
than what is proven: where no bound is known the caller refuses.

Sensitivities are integers: every protected contribution is truncated towards zero to an integer vector of L2
norm at most C s (`accounting.md` calls this 2b), so the L2 sensitivity is not inflated by rounding. The
`sigma` of a discrete Gaussian is its parameter, which is its standard deviation to 1e-15 for sigma >= 2
steps.

Papers: Kairouz, Liu, Steinke 2021 (arXiv 2102.06387) for the sum of discrete Gaussians; Agarwal, Kairouz, Liu
2021 (arXiv 2110.04995) for Skellam; Zhu, Wang 2019 (ICML, "Poisson subsampled Renyi DP") for sampling in
general.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

__all__ = [
    "discrete_gaussian_rdp",
    "interpolate_moments",
    "joined_distance",
    "l1_sensitivity",
    "sampled_gaussian_moments",
    "sampled_moments_in_general",
    "skellam_rdp",
    "sum_distance",
]

_LARGEST_EXACT_SUM = 100_000


def sum_distance(sigma: float, shares: int) -> float:
    """Bound tau on the log ratio, per coordinate, of a sum of discrete Gaussians to one discrete Gaussian.

    tau = 10 sum_{k=1}^{shares-1} exp(-2 pi^2 sigma^2 k / (k + 1)), Kairouz-Liu-Steinke 2021, Theorem 1, with
    `sigma` the parameter of one share in grid steps. Only shares that the adversary does not know may be
    counted.
    """
    if shares < 2:
        return 0.0
    exact = min(shares - 1, _LARGEST_EXACT_SUM)
    k = np.arange(1, exact + 1, dtype=np.float64)
    tau = float(np.exp(-2.0 * (math.pi * sigma) ** 2 * k / (k + 1.0)).sum())
    # the terms fall with k, so the rest is at most as many times the first term left out
    rest = (shares - 1 - exact) * math.exp(-2.0 * (math.pi * sigma) ** 2 * (exact + 1) / (exact + 2))
    return 10.0 * (tau + rest)


def joined_distance(first: float, second: float) -> float:
    """Bound on the same log ratio for a sum of two discrete Gaussians of unequal parameters, in grid steps.

    10 exp(-2 pi^2 / (1 / first^2 + 1 / second^2)), the step by which Kairouz-Liu-Steinke 2021 prove Theorem 1. Log
    ratios survive convolution with further noise, so the bounds of both parts and of their joint add up.
    """
    return 10.0 * math.exp(-2.0 * math.pi**2 / (1.0 / first**2 + 1.0 / second**2))


def l1_sensitivity(l2_steps: float, dimension: int) -> float:
    """L1 norm bound, in steps, of an integer vector of L2 norm `l2_steps`: min(sqrt(d) D2, D2^2)."""
    return min(math.sqrt(dimension) * l2_steps, l2_steps**2)


def discrete_gaussian_rdp(
    orders: NDArray[np.float64], l2_ratio: float, l1_ratio: float, tau: float, dimension: int
) -> NDArray[np.float64]:
    """RDP of an integer shift under a sum of discrete Gaussians, no sampling, at any orders above 1.

    The minimum of the three forms of Kairouz-Liu-Steinke 2021, Proposition 14; with tau = 0 all three are the
    Gaussian's a r^2 / 2.

    Args:
        orders: orders a.
        l2_ratio: L2 sensitivity over the parameter S of the whole sum.
        l1_ratio: L1 sensitivity over S.
        tau: `sum_distance` of the honest shares.
        dimension: coordinates d.
    """
    plain = 0.5 * orders * l2_ratio**2
    if tau == 0.0:
        return plain
    forms = (
        plain + tau * dimension,
        0.5 * orders * (l2_ratio**2 + 2.0 * tau * l1_ratio + tau**2 * dimension),
        0.5 * orders * (l2_ratio + math.sqrt(dimension) * tau) ** 2,
    )
    smallest: NDArray[np.float64] = np.min(forms, axis=0)
    return smallest


def skellam_rdp(orders: NDArray[np.int64], l2_steps: float, l1_steps: float, variance: float) -> NDArray[np.float64]:
    """RDP of an integer shift under Skellam noise of the given variance (steps squared), at integer orders >= 2.

    a D2^2 / (2 mu) + min{((2a - 1) D2^2 + 6 D1) / (4 mu^2), 3 D1 / (2 mu)}, Agarwal-Kairouz-Liu 2021, Theorem 3.5.
    """
    a = orders.astype(np.float64)
    excess = ((2.0 * a - 1.0) * l2_steps**2 + 6.0 * l1_steps) / (4.0 * variance**2)
    return 0.5 * a * l2_steps**2 / variance + np.minimum(excess, 1.5 * l1_steps / variance)


def sampled_gaussian_moments(orders: NDArray[np.int64], sample_rate: float, l2_ratio: float) -> NDArray[np.float64]:
    """Log moments K(a) of the Poisson-sampled Gaussian at integer orders a >= 1; a bound for N_Z(0, S^2)^d too.

    K(a) = log sum_k C(a,k) (1-q)^(a-k) q^k exp((k^2 - k) r^2 / 2), with r the L2 sensitivity over S (Mironov,
    Talwar, Zhang 2019, section 3.3).

    For the discrete Gaussian this is an upper bound in both directions. Let mu0 be the noise, mu1 the noise
    shifted by the integer vector D. The normalisers of the two are equal because D is an integer vector, so
    mu1/mu0 (x) = exp((2<x,D> - |D|^2) / (2 S^2)). The discrete Gaussian is sub-Gaussian, E exp<t,X> <=
    exp(S^2 |t|^2/2) (Canonne, Kamath, Steinke 2020), hence E_mu0 (mu1/mu0)^k <= exp((k^2 - k) |D|^2 / (2
    S^2)); all coefficients in the binomial expansion of (1 - q + q mu1/mu0)^a are positive and the bound
    grows with |D|. The reflection x -> D - x maps Z^d to itself and swaps mu0 and mu1, so D_a(mu0 || mix) <=
    D_a(mix || mu0) by Theorem 5 of Mironov et al.

    The value is computed as log(1 + sum of positive terms), so it never rounds to zero or below.
    """
    top = int(orders.max())
    k = np.arange(top + 1, dtype=np.float64)
    return _binomial_moments(orders, sample_rate, 0.5 * k * (k - 1.0) * l2_ratio**2)


def sampled_moments_in_general(
    orders: NDArray[np.int64], sample_rate: float, rdp: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log moments K(a) of any Poisson-sampled mechanism at integer orders, from the mechanism's own RDP.

    K(a) = log{(1-q)^(a-1) (aq - q + 1) + C(a,2) q^2 (1-q)^(a-2) e^eps(2)
                + 3 sum_{l=3}^a C(a,l) (1-q)^(a-l) q^l e^((l-1) eps(l))},
    Zhu and Wang 2019, Theorem 5 (the form that needs nothing of the mechanism), which is also what the code
    published with the discrete Gaussian and Skellam papers uses.

    Args:
        orders: integer orders a >= 1.
        sample_rate: q in (0, 1).
        rdp: eps(l) at l = 0, 1, 2, ..., max(orders); the first two entries are not read.
    """
    top = int(orders.max())
    k = np.arange(top + 1, dtype=np.float64)
    log_ratio = np.zeros(top + 1)
    log_ratio[2:] = (k[2:] - 1.0) * rdp[2 : top + 1]
    log_ratio[3:] += math.log(3.0)
    return _binomial_moments(orders, sample_rate, log_ratio)


def interpolate_moments(
    orders: NDArray[np.float64], integer_orders: NDArray[np.int64], moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """RDP at any orders from upper bounds on the log moments at integer orders, 1 (where K = 0) included."""
    line: NDArray[np.float64] = np.interp(orders, integer_orders.astype(np.float64), moments)
    return line / (orders - 1.0)


def _binomial_moments(orders: NDArray[np.int64], q: float, log_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """log sum_k C(a,k) (1-q)^(a-k) q^k exp(log_ratio[k]), with log_ratio 0 at k = 0, 1 and never negative.

    As the weights add up to 1, this is log1p(sum_{k>=2} weight_k (exp(log_ratio_k) - 1)), which keeps full
    relative precision however near to 0 the result is.
    """
    results = np.zeros(len(orders))
    with np.errstate(divide="ignore"):
        log_excess = log_ratio + np.log(-np.expm1(-log_ratio))
    for i, a in enumerate(orders.tolist()):
        if a < 2:
            continue
        k = np.arange(2, a + 1, dtype=np.float64)
        log_weight = gammaln(a + 1.0) - gammaln(k + 1.0) - gammaln(a - k + 1.0) + k * math.log(q)
        log_weight += (a - k) * math.log1p(-q)
        results[i] = np.logaddexp(0.0, logsumexp(log_weight + log_excess[2 : a + 1]))
    return results
