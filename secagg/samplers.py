"""Noise integers: an exact vectorised discrete Gaussian (ours), OpenDP's vetted one, and a rounded Gaussian.

All draw from a `Keystream` except OpenDP's, which has randomness of its own. Our sampler is exact in distribution
but has not been independently vetted; it is tested against OpenDP and the exact probabilities. The rounded
Gaussian is the idealised float mechanism and must never be accounted as a discrete one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from mpmath import mp
from numpy.typing import NDArray

from kernels.chacha import NONCE_BYTES
from kernels.gaussian import gaussian_noise
from secagg.randomness import KEY_BYTES, Keystream

__all__ = ["MAX_SIGMA", "discrete_gaussian", "opendp_discrete_gaussian", "rounded_gaussian"]

MAX_SIGMA = 2**40
_WORD = 2**64
# Share of candidates that are accepted: integral of exp(-y^2/2) over sum of exp(-k^2/2) = 0.715.
_OVERSAMPLING = 1.45
_CHUNK = 2**18
# Entries of the table of k; P(K > 10) < 2^-79, so larger k can only come out of a tie with the last entry.
_TABLE = 11
# |float64 value of 2^64 exp(-gamma) - exact value| < 2^19 (see `_accept`), and a word converts with an error below
# 2^11; candidates whose word is within this margin are decided exactly, one in 2^39.
_MARGIN = 2.0**24


def discrete_gaussian(sigma: int, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` exact draws of the discrete Gaussian N_Z(0, sigma^2), P(i) proportional to exp(-i^2 / (2 sigma^2)).

    Karney's construction for whole sigma (Sampling exactly from the normal distribution, 2016, algorithm D): write
    |i| = k sigma + j with 0 <= j < sigma and x = j / sigma. Then exp(-i^2 / (2 sigma^2)) = exp(-k^2/2) exp(-x(2k+x)/2),
    so draw k with probability proportional to exp(-k^2/2), j uniformly, a sign, accept with probability
    exp(-x(2k+x)/2), and reject a negative zero.

    Exact means: every comparison of a uniform number with a real is decided on 64 bits only where float64 error
    bounds make the decision certain; otherwise with as many further random bits and digits as it takes.

    Args:
        sigma: whole number of grid steps, 1 to 2^40.
        size: number of draws.
        source: keystream to draw from.

    Raises:
        ValueError: if sigma is not a whole number in range.
    """
    if not isinstance(sigma, int | np.integer) or not 1 <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma is {sigma}; allowed: whole numbers from 1 to 2^40")
    sigma = int(sigma)
    out = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        wanted = min(size - filled, _CHUNK)
        drawn = _candidates(sigma, int(wanted * _OVERSAMPLING) + 16, source)[:wanted]
        out[filled : filled + len(drawn)] = drawn
        filled += len(drawn)
    return out


def rounded_gaussian(std: float, size: int, source: Keystream) -> NDArray[np.int64]:
    """`size` draws of a continuous N(0, std^2), rounded to whole grid steps (idealised mechanism only)."""
    # A fresh key of the stream's own for every call, so that the nonce may be constant.
    normal = gaussian_noise(size, source.take(KEY_BYTES), bytes(NONCE_BYTES))
    return np.rint(normal.numpy() * std).astype(np.int64)


def opendp_discrete_gaussian(sigma: float, size: int) -> NDArray[np.int64]:
    """`size` draws from OpenDP's sampler (Canonne, Kamath, Steinke 2020), from its own secure randomness."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    return np.array(dp.m.make_gaussian(*space, scale=float(sigma))([0] * size), dtype=np.int64)


def _candidates(sigma: int, count: int, source: Keystream) -> NDArray[np.int64]:
    """The accepted ones among `count` candidates."""
    k = _draw_k(source.words(count), source)
    words = source.words(count)
    negative = (words & np.uint64(1)).astype(bool)
    halves = words >> np.uint64(1)
    # Whole multiples of sigma only: the incomplete last block would favour small remainders.
    usable = halves < np.uint64(2**63 // sigma * sigma)
    j = (halves % np.uint64(sigma)).astype(np.int64)
    accepted = _accept(source.words(count), k, j, sigma, source)
    accepted &= usable & ~(negative & (k == 0) & (j == 0))
    magnitude = k[accepted] * sigma + j[accepted]
    return np.where(negative[accepted], -magnitude, magnitude)


def _draw_k(words: NDArray[np.uint64], source: Keystream) -> NDArray[np.int64]:
    """k >= 0 with probability proportional to exp(-k^2/2), one per word."""
    table = _k_table()
    k = np.searchsorted(table, words, side="left").astype(np.int64)
    # A word equal to a threshold's leading 64 bits says nothing yet about which side of it the number lies.
    tied = np.flatnonzero(table[np.minimum(k, _TABLE - 1)] == words)
    for index in tied:
        k[index] = _exact_k(int(words[index]), source)
    return k


@lru_cache(maxsize=1)
def _k_table() -> NDArray[np.uint64]:
    """floor(2^64 P(K <= k)) for k = 0, 1, ...; the last entries are 2^64 - 1."""
    with mp.workprec(256):
        return np.array([int(mp.floor(value * _WORD)) for value in _k_distribution(_TABLE)], dtype=np.uint64)


def _k_distribution(entries: int) -> list[mp.mpf]:
    """P(K <= k) for k below `entries`, at mpmath's current precision."""
    weights = [mp.exp(-mp.mpf(k * k) / 2) for k in range(entries)]
    # The tail beyond is summed until it is below the precision.
    norm, k = mp.fsum(weights), entries
    while (term := mp.exp(-mp.mpf(k * k) / 2)) > mp.eps:
        norm, k = norm + term, k + 1
    total = mp.mpf(0)
    distribution = []
    for weight in weights:
        total += weight
        distribution.append(total / norm)
    return distribution


def _exact_k(word: int, source: Keystream) -> int:
    """k for a uniform number whose first 64 bits are `word`, with as many further bits as it takes."""
    bits, value = 64, word
    while True:
        bits, value = bits + 64, value << 64 | int(source.words(1)[0])
        with mp.workprec(bits + 64):
            slack = mp.ldexp(1, -bits - 32)
            low, high = mp.ldexp(value, -bits), mp.ldexp(value + 1, -bits)
            previous = mp.mpf(0)
            # P(K > k) < exp(-k^2/2), so this many entries reach past any number of this many bits.
            for k, cumulated in enumerate(_k_distribution(2 * bits)):
                if low >= previous + (slack if k else 0) and high <= cumulated - slack:
                    return k
                previous = cumulated


def _accept(
    words: NDArray[np.uint64], k: NDArray[np.int64], j: NDArray[np.int64], sigma: int, source: Keystream
) -> NDArray[np.bool_]:
    """True with probability exp(-x(2k+x)/2), x = j / sigma, one per word.

    In float64 x is off by at most 2^-53 relative, the exponent (below 11) by 2^-47 absolute and the exponential by
    2^-46 relative, hence 2^64 times it by less than 2^19.
    """
    x = j / sigma
    probability = np.exp(-x * (2 * k + x) / 2) * float(_WORD)
    uniform = words.astype(np.float64)
    accepted: NDArray[np.bool_] = uniform < probability
    for index in np.flatnonzero(np.abs(uniform - probability) <= _MARGIN):
        accepted[index] = _exact_accept(int(words[index]), int(k[index]), int(j[index]), sigma, source)
    return accepted


def _exact_accept(word: int, k: int, j: int, sigma: int, source: Keystream) -> bool:
    """Whether a uniform number with these first 64 bits is below exp(-j(2k sigma + j) / (2 sigma^2))."""
    if j == 0:
        return True  # probability 1: no number in [0, 1) is above
    bits, value = 64, word
    while True:
        with mp.workprec(bits + 64):
            threshold = mp.exp(-mp.mpf(j * (2 * k * sigma + j)) / (2 * sigma * sigma))
            slack = mp.ldexp(1, -bits - 32)
            if mp.ldexp(value + 1, -bits) <= threshold - slack:
                return True
            if mp.ldexp(value, -bits) >= threshold + slack:
                return False
        bits, value = bits + 64, value << 64 | int(source.words(1)[0])
