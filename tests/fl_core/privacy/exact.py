"""Independent references: Renyi divergences by summing exact probabilities, and textbook conversions."""

import math

import numpy as np
from scipy import integrate, optimize, stats
from scipy.special import log_ndtr, logsumexp


def gaussian_epsilon(sigma, delta):
    """Smallest epsilon of N(0, sigma^2) noise at sensitivity 1 (Balle and Wang 2018, Theorem 8)."""

    def excess(eps):
        first, second = log_ndtr(0.5 / sigma - eps * sigma), log_ndtr(-0.5 / sigma - eps * sigma)
        return math.exp(first) - math.exp(eps + second) - delta

    return optimize.brentq(excess, 0.0, 10 / sigma**2 + 50 / sigma, xtol=1e-12)


def classic_epsilon(orders, rdp, delta):
    """The conversion of the years before 2020: min over a of rdp - ln(delta) / (a - 1)."""
    return float(np.min(rdp - math.log(delta) / (orders - 1)))


def sampled_gaussian_rdp(q, z, order):
    """Larger of the two directions, by numerical integration."""

    def log_mix(x):
        return np.logaddexp(math.log1p(-q) + stats.norm.logpdf(x, 0, z), math.log(q) + stats.norm.logpdf(x, 1, z))

    def log_zero(x):
        return stats.norm.logpdf(x, 0, z)

    found = []
    for p, r in ((log_mix, log_zero), (log_zero, log_mix)):
        width = 12 * z + order + 5
        value = integrate.quad(
            lambda x, p=p, r=r: math.exp(order * p(x) + (1 - order) * r(x)), -width, width, limit=2000, epsabs=0
        )[0]
        found.append(math.log(value) / (order - 1))
    return max(found)


def discrete_gaussian(sigma, half_width):
    """Log probabilities of N_Z(0, sigma^2) on -half_width..half_width."""
    x = np.arange(-half_width, half_width + 1)
    log_p = -(x**2) / (2 * sigma**2)
    return log_p - logsumexp(log_p)


def shifted(log_p, by):
    """Log probabilities of the noise plus `by`, on the same points."""
    result = np.full_like(log_p, -np.inf)
    if by >= 0:
        result[by:] = log_p[: len(log_p) - by]
    else:
        result[:by] = log_p[-by:]
    return result


def renyi(log_p, log_q, order):
    """D_a(P || Q) from log probabilities, over points where both are there."""
    seen = np.isfinite(log_p) & np.isfinite(log_q)
    return logsumexp(order * log_p[seen] + (1 - order) * log_q[seen]) / (order - 1)


def both_directions(log_zero, log_one, q, order):
    """D_a(mix || zero) and D_a(zero || mix) with mix = (1-q) zero + q one."""
    mix = log_one if q == 1 else np.logaddexp(np.log1p(-q) + log_zero, np.log(q) + log_one)
    return renyi(mix, log_zero, order), renyi(log_zero, mix, order)
