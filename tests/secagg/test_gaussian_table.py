"""The discrete Gaussian's tables are its probabilities, to the bits that they claim."""

from __future__ import annotations

import pytest
from mpmath import mp

from secagg.gaussian_table import UNDECIDED, block_width, cumulated, gaussian_table, ratio

SIGMAS = [1, 2, 16, 17, 33, 1000, 2**30 - 1, 2**40]


def weights(sigma: int, entries: int) -> list:
    """Of the first entries, as mpmath's: f of a block's first value, or where listed twice f(x) for |x| > 0."""
    width = block_width(sigma)
    found = [mp.exp(-(mp.mpf(k * width) ** 2) / (2 * mp.mpf(sigma) ** 2)) for k in range(entries)]
    return [weight * 2 if width == 1 and k else weight for k, weight in enumerate(found)]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("bits", [64, 144])
def test_cumulated_probabilities_are_right_to_their_bits(sigma, bits):
    got = cumulated(sigma, bits)
    with mp.workprec(400):
        # Far beyond what counts at these bits.
        exact = weights(sigma, 4 * len(got))
        total, so_far = mp.fsum(exact), mp.mpf(0)
        for weight, entry in zip(exact, got, strict=False):
            so_far += weight
            assert abs(entry - so_far / total * mp.mpf(2) ** bits) <= 1 + mp.mpf(2) ** -20
        assert (total - so_far) / total < mp.mpf(2) ** -bits or len(got) == len(exact)
    assert 2**bits - got[-1] <= 1


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_table_looks_up_its_own_distribution(sigma):
    table, width = gaussian_table(sigma), block_width(sigma)
    assert width == 1 if sigma <= 16 else sigma / 16 < width <= sigma / 8
    assert 1 << table.shift == width
    assert len(table.starts) < UNDECIDED
    assert [int(start) for start in table.starts[1:]] == [end >> 16 for end in cumulated(sigma, 80)][
        : len(table.starts) - 1
    ]
    assert (2**64 - int(table.starts[-1])) / 2**64 < 2.0**-50
    if width == 1:
        assert len(table.sure) == 0
    with mp.workprec(200):
        for block, sure in enumerate(table.sure[:-1].tolist()):
            low = mp.exp(-(mp.mpf(width) ** 2) * (2 * block + 1) / (2 * mp.mpf(sigma) ** 2)) * 2**32
            assert 1 <= low - sure < 2
    assert table.sure[-1:].sum() == 0


@pytest.mark.parametrize("sigma", [17, 1000, 2**40])
@pytest.mark.parametrize("bits", [1, 64, 200])
def test_ratios_are_right_within_one(sigma, bits):
    width = block_width(sigma)
    for x in (0, 1, width - 1, width, 5 * width, 5 * width + width // 2, 13 * sigma - 1):
        with mp.workprec(bits + 300):
            first = x - x % width
            exact = mp.exp((mp.mpf(first) ** 2 - mp.mpf(x) ** 2) / (2 * mp.mpf(sigma) ** 2)) * mp.mpf(2) ** bits
            assert abs(ratio(x, sigma, bits) - exact) <= 1
        if x == first:
            assert ratio(x, sigma, bits) == 2**bits
