"""The buffer of per-sample gradients, materialised or recomputed: norms of what is stored, sums of what was added."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GradientBuffer, clip_and_sum
from kernels.clip_sum import MARGIN, MIN_CLIP_NORM
from kernels.gradient_store import gradient_store
from kernels.recomputed_gradients import RecomputedGradients
from kernels.reference import reference_lora_per_sample_grads

STORES = [GradientBuffer, RecomputedGradients]


def pair(b, t, d_in, d_out, r, seed):
    g = torch.Generator().manual_seed(seed)
    x, g_y = torch.randn(b, t, d_in, generator=g), torch.randn(b, t, d_out, generator=g)
    return x, g_y, torch.randn(r, d_in, generator=g), torch.randn(d_out, r, generator=g)


def add(store, a, b, x, g_y, A, B, scaling):
    store.add_pair(a, b, x, scaling * (g_y @ B), x @ A.T, g_y, scaling)


def flat(*grads):
    return torch.cat([grad.flatten(1) for grad in grads], 1)


@settings(max_examples=25, deadline=None)
@given(
    b=st.integers(1, 5),
    t=st.integers(1, 7),
    r=st.sampled_from([1, 3, 8, 9, 16]),
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    store=st.sampled_from(STORES),
)
def test_pairs_of_any_shape_equal_the_float64_reference(b, t, r, shapes, seed, store):
    pairs = [pair(b, t, d_in, d_out, r, seed + i) for i, (d_in, d_out) in enumerate(shapes)]
    made = store([shape for d_in, d_out in shapes for shape in ((r, d_in), (d_out, r))], b)
    want = []
    for index, (x, g_y, A, B) in reversed(list(enumerate(pairs))):  # as a backward pass does: last layer first
        add(made, 2 * index, 2 * index + 1, x, g_y, A, B, 0.7)
        grad_a, grad_b, _ = reference_lora_per_sample_grads(x, g_y, A, B, 0.7)
        want[:0] = [grad_a, grad_b]
    rows = flat(*want)
    torch.testing.assert_close(made.norms(), rows.norm(dim=1), rtol=1e-5, atol=1e-6)
    got = made.clip_and_sum(1.0).total
    torch.testing.assert_close(got.double(), clip_and_sum(rows, rows.square().sum(1), 1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("store", STORES)
def test_a_parameter_written_twice_holds_the_sum_and_its_norm(store):
    x, g_y, A, B = pair(3, 4, 5, 6, 2, 0)
    x2, g_y2, _, _ = pair(3, 4, 5, 6, 2, 1)
    made = store([(2, 5), (6, 2)], 3)
    add(made, 0, 1, x, g_y, A, B, 1.0)
    add(made, 0, 1, x2, g_y2, A, B, 1.0)
    rows = sum(flat(*reference_lora_per_sample_grads(x_, g_, A, B, 1.0)[:2]) for x_, g_ in ((x, g_y), (x2, g_y2)))
    torch.testing.assert_close(made.norms(), rows.norm(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("store", STORES)
def test_a_parameter_shared_by_two_pairs_is_counted_once_in_the_norm(store):
    x, g_y, A, B = pair(3, 4, 5, 6, 2, 0)
    x2, g_y2, A2, _ = pair(3, 4, 5, 6, 2, 1)
    made = store([(2, 5), (6, 2), (2, 5)], 3)
    add(made, 0, 1, x, g_y, A, B, 1.0)
    add(made, 2, 1, x2, g_y2, A2, B, 1.0)
    first, second = (reference_lora_per_sample_grads(*args, 1.0) for args in ((x, g_y, A, B), (x2, g_y2, A2, B)))
    rows = flat(first[0], first[1] + second[1], second[0])
    torch.testing.assert_close(made.norms(), rows.norm(dim=1), rtol=1e-5, atol=1e-6)
    assert made.written == {0, 1, 2}


@pytest.mark.parametrize("store", STORES)
def test_a_cleared_store_starts_anew_and_unwritten_parameters_count_as_zero(store):
    x, g_y, A, B = pair(3, 4, 5, 6, 2, 0)
    made = store([(2, 5), (6, 2)], 3)
    add(made, 0, 1, x, g_y, A, B, 1.0)
    made.clear()
    made.add(1, lambda: torch.ones(3, 6, 2))
    assert made.written == {1}
    torch.testing.assert_close(made.norms(), torch.full((3,), 12.0, dtype=torch.float64).sqrt())
    total = made.clip_and_sum(100.0).total
    assert not total[:10].any()
    torch.testing.assert_close(total[10:], torch.full((12,), 3.0))


@pytest.mark.parametrize("store", STORES)
def test_an_infinite_gradient_is_excluded_by_its_norm(store):
    x, g_y, A, B = pair(3, 4, 5, 6, 2, 0)
    g_y[1, 0, 0] = float("inf")
    made = store([(2, 5), (6, 2)], 3)
    add(made, 0, 1, x, g_y, A, B, 1.0)
    for scale in (None, 2**16):
        got = made.clip_and_sum(1.0, torch.arange(3), scale, 3)
        assert got.nonfinite == 1
        assert not got.total[1].any()
        assert got.total[0].any()


def adversarial(kind, length):
    """`[length]` float32 of about unit size whose squares float32 sums lose."""
    generator = torch.Generator().manual_seed(length)
    tiny = 2.0**-12.6  # whose square is less than half a unit in the last place of 1
    if kind == "one huge, the rest tiny":
        row = torch.full((length,), tiny)
        row[0] = 1.0
    elif kind == "a huge one in every block":
        row = torch.full((length,), tiny)
        row[::64] = 1.0
    elif kind == "ever larger":
        row = torch.logspace(-8, 0, length)
    elif kind == "all the same":
        row = torch.full((length,), 0.7300001)
    elif kind == "spread over 30 orders":
        row = 10.0 ** (torch.rand(length, generator=generator) * 30 - 15)
    else:
        row = torch.randn(length, generator=generator)
    return row


KINDS = [
    "one huge, the rest tiny",
    "a huge one in every block",
    "ever larger",
    "all the same",
    "spread over 30 orders",
    "normal",
]


@pytest.mark.parametrize("length", [1, 63, 100_003, 10**7])
@pytest.mark.parametrize("kind", KINDS)
def test_no_norm_is_too_small_by_1e_6_and_no_clipped_sample_above_the_clip_norm(kind, length):
    row = adversarial(kind, length)[None]
    for size, store in ((1.0, GradientBuffer), (1e3, GradientBuffer), (1.0, RecomputedGradients)):
        scaled = row * size
        made = store([(length,)], 1)
        made.add(0, lambda scaled=scaled: scaled)
        truth = torch.linalg.vector_norm(scaled.double())
        assert abs(float(made.norms() / truth) - 1) <= 1e-6
        for clip in (float(truth) * 0.999999, float(truth) / 3):
            clipped = made.clip_and_sum(clip).total
            assert clip * (1 - 1e-5) <= torch.linalg.vector_norm(clipped.double()) <= clip


def test_the_margin_below_the_clip_norm_covers_blocks_added_in_any_order():
    # One by one, the worst order: a sum of 64 squares loses at most 63 roundings of the running sum.
    worst = 63 / 2 * 2.0**-24
    assert worst + 4 * 2.0**-24 < MARGIN
    row = adversarial("one huge, the rest tiny", 64)
    square = torch.zeros(())
    for value in row:
        square = square + value * value
    truth = torch.linalg.vector_norm(row.double()) ** 2
    assert 0 < 1 - float(square / truth) <= 2 * worst


@pytest.mark.parametrize("store", STORES)
def test_values_too_small_for_float32_squares_never_matter_and_too_large_ones_count_as_not_finite(store):
    made = store([(1000,)], 2)
    tile = torch.full((2, 1000), 1e-30)
    tile[1] = 2e38
    made.add(0, lambda: tile)
    got = made.clip_and_sum(MIN_CLIP_NORM)
    assert torch.linalg.vector_norm(got.total.double()) <= MIN_CLIP_NORM
    if store is GradientBuffer:
        assert got.nonfinite == 1
        assert torch.equal(got.total, tile[0])


def test_the_store_is_chosen_by_the_bytes_of_the_buffer():
    shapes = [(4, 100), (60, 4)]
    device = torch.device("cpu")
    assert isinstance(gradient_store(shapes, 8, torch.float32, device, 8 * 640 * 4), GradientBuffer)
    assert isinstance(gradient_store(shapes, 8, torch.float32, device, 8 * 640 * 4 - 1), RecomputedGradients)
