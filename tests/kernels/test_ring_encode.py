"""Ring encoding: sum, noise and masks meet exactly, and the noise has the discrete Gaussian's probabilities."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.suites.bench_samplers import opendp_discrete_gaussian
from kernels.discrete_table import discrete_gaussian_table
from kernels.reference import reference_chacha20_block
from kernels.ring_encode import discrete_gaussian_noise, noise_nonce, ring_decode, ring_encode, ring_mask, subtract_mask

KEY = bytes(range(32))
module = importlib.import_module("kernels.ring_encode")  # the package exports a function of that name


def integers(count, bits, seed=0):
    return torch.randint(-(2 ** (bits - 2)), 2 ** (bits - 2), (count,), generator=torch.Generator().manual_seed(seed))


def centred(value, bits):
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


@settings(deadline=None)
@given(
    count=st.integers(0, 50),
    parties=st.integers(0, 4),
    bits=st.integers(2, 64),
    sigma=st.sampled_from([None, 0.5, 4.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_removing_all_masks_leaves_the_sum_and_its_noise(count, parties, bits, sigma, seed):
    total = integers(count, 63, seed)
    masks = [bytes([party + 1]) * 32 for party in range(parties)]
    table = None if sigma is None else discrete_gaussian_table(sigma)
    encoded = ring_encode(total, masks, None if table is None else (table, KEY), bits)
    noise = torch.zeros_like(total) if table is None else discrete_gaussian_noise(count, table, KEY)
    unmasked = ring_decode(encoded + sum(ring_mask(mask, count, bits) for mask in masks), bits)
    want = [centred(int(a) + int(b), bits) for a, b in zip(total, noise, strict=True)]
    assert unmasked.tolist() == want
    assert all(-(2 ** (bits - 1)) <= value < 2 ** (bits - 1) for value in encoded.tolist())


def test_a_mask_is_the_chacha20_keystream_of_its_seed():
    stream = Cipher(ChaCha20(KEY, bytes(16)), mode=None).encryptor().update(bytes(8 * 1000))
    assert ring_mask(KEY, 1000).numpy().tobytes() == stream
    for bits, word in ((20, "<u4"), (32, "<u4"), (33, "<u8"), (63, "<u8")):
        words = np.frombuffer(stream, word)[:1000].astype(object)
        assert [value % 2**bits for value in ring_mask(KEY, 1000, bits).tolist()] == (words % 2**bits).tolist()


@pytest.mark.parametrize("count", [0, 1, 100_003])
def test_a_mask_is_subtracted_from_narrow_numbers_as_from_wide_ones(count):
    wide, narrow = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int32)
    subtract_mask(wide, KEY, 31)
    subtract_mask(narrow, KEY, 31)
    assert torch.equal(ring_decode(wide, 31), ring_decode(narrow.long(), 31))
    for into, bits in ((narrow, 33), (torch.zeros(3), 31), (wide, 65)):
        with pytest.raises(ValueError, match="ring"):
            subtract_mask(into, KEY, bits)


def test_the_sum_is_left_as_it_was_and_pieces_of_the_work_fit_together(monkeypatch):
    total, table = integers(1000, 40), discrete_gaussian_table(5000.0)
    before = total.clone()
    whole = ring_encode(total, [bytes(32)], (table, KEY))
    assert torch.equal(total, before)
    monkeypatch.setattr(module, "_CHUNK", 64)
    monkeypatch.setattr(module, "_MASK_CHUNK", 64)
    assert torch.equal(ring_encode(total, [bytes(32)], (table, KEY)), whole)


def test_every_draw_is_what_its_own_126_bits_say():
    # An independent way: ChaCha20 by the reference, one comparison after the other in whole numbers.
    table = discrete_gaussian_table(1000.0)
    assert len(table.strides) == 2
    for index in (0, 3, 4, 17):
        value = 0
        for level, stride in enumerate(table.strides):
            block = reference_chacha20_block(KEY, noise_nonce(level), index // 4)
            w = block[4 * (index % 4) :][:4]
            uniform = ((w[1] << 32 | w[0]) >> 1) << 63 | (w[3] << 32 | w[2]) >> 1
            pairs = zip(table.high[level].tolist(), table.low[level].tolist(), strict=True)
            reach = table.reaches[level]
            value += stride * (sum((h << 63 | low) <= uniform for h, low in list(pairs)[: 2 * reach]) - reach)
        assert discrete_gaussian_noise(20, table, KEY)[index] == value


def test_equal_leading_halves_are_decided_by_the_other_half():
    high = torch.tensor([5, 9, 9, 9, 12])
    low = torch.tensor([0, 10, 20, 30, 0])
    u_high = torch.tensor([9, 9, 9, 9, 5, 12, 4, 10])
    u_low = torch.tensor([9, 10, 25, 40, 0, 0, 7, 3])
    pairs = list(zip(high.tolist(), low.tolist(), strict=True))
    want = [sum(pair <= u for pair in pairs) for u in zip(u_high.tolist(), u_low.tolist(), strict=True)]
    assert module._search(high, low, u_high, u_low).tolist() == want == [1, 2, 3, 4, 1, 5, 0, 4]


@pytest.mark.parametrize("sigma", [0.5, 3.0, 12.5, 100.0])
def test_noise_follows_the_exact_probabilities(sigma):
    size, reach = 400_000, int(12 * sigma) + 12
    draws = discrete_gaussian_noise(size, discrete_gaussian_table(sigma), KEY).numpy()
    support = np.arange(-reach, reach + 1)
    weights = np.exp(-(support**2) / (2 * sigma**2))
    expected = weights / weights.sum() * size
    observed = np.bincount(draws + reach, minlength=2 * reach + 1)
    keep = expected >= 10
    rest = expected[~keep].sum()
    o, e = np.append(observed[keep], observed[~keep].sum()), np.append(expected[keep], rest)
    assert stats.chisquare(o[e > 1], e[e > 1] * o[e > 1].sum() / e[e > 1].sum()).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [300.0, 25600.0, 2.0**20, 2.0**32])
def test_noise_from_several_tables_is_normal_in_shape_with_uniform_low_digits(sigma):
    draws = discrete_gaussian_noise(300_000, discrete_gaussian_table(sigma), KEY).numpy()
    assert stats.kstest((draws + np.random.default_rng(0).uniform(-0.5, 0.5, len(draws))) / sigma, "norm").pvalue > 1e-3
    assert abs((draws / sigma).var() - 1) < 0.01
    digits = min(64, int(sigma) // 8)
    assert stats.chisquare(np.bincount(draws % digits, minlength=digits)).pvalue > 1e-3


def test_noise_equals_opendps_vetted_sampler_in_distribution():
    theirs = opendp_discrete_gaussian(6.0, 20_000)
    ours = discrete_gaussian_noise(20_000, discrete_gaussian_table(6.0), KEY).numpy()
    counts = [np.bincount(np.clip(values, -18, 18) + 18, minlength=37) for values in (ours, theirs)]
    assert stats.chi2_contingency(np.array(counts) + 1).pvalue > 1e-3


def test_levels_and_masks_never_share_words():
    nonces = [noise_nonce(level) for level in range(8)] + [bytes(12)]
    assert len(set(nonces)) == len(nonces)
    assert {len(nonce) for nonce in nonces} == {12}


def test_draws_may_start_at_any_block():
    table = discrete_gaussian_table(1000.0)
    assert torch.equal(discrete_gaussian_noise(96, table, KEY)[40:], discrete_gaussian_noise(56, table, KEY, first=40))
    with pytest.raises(ValueError, match="multiples of 8"):
        discrete_gaussian_noise(8, table, KEY, first=4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((torch.zeros(3), [KEY]), "int64"),
        ((torch.zeros(3, 1, dtype=torch.int64), [KEY]), "one-dimensional"),
        ((torch.zeros(3, dtype=torch.int64), [b"short"]), "32 bytes"),
        ((torch.zeros(3, dtype=torch.int64), [KEY, KEY]), "no two are the same"),
        ((torch.zeros(3, dtype=torch.int64), [KEY], (discrete_gaussian_table(1.0), KEY)), "no two are the same"),
        ((torch.zeros(3, dtype=torch.int64), [KEY], None, 65), r"2\^65 elements"),
        ((torch.zeros(3, dtype=torch.int64), [KEY], None, 1), r"2\^1 elements"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ring_encode(*arguments)


def test_narrow_rings_need_headroom_and_wrap_without_it():
    assert ring_decode(torch.tensor([127, 128, -129, 256]), 8).tolist() == [127, -128, 127, 0]
    assert math.log2(-int(ring_decode(torch.tensor([-(2**63)]), 64)[0])) == 63
