"""The buffer of per-sample gradients, materialised or recomputed: norms of what is stored, sums of what was added."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GradientBuffer, clip_and_sum
from kernels.recomputed_gradients import RecomputedGradients, gradient_store
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


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e18])
def test_norms_are_those_of_the_stored_values_at_adversarial_magnitudes(store, size):
    """One huge coordinate among many tiny ones is what float32 reductions lose."""
    width = 200_000
    tile = torch.full((2, width), 1e-4 * size)
    tile[0, 7] = size
    tile[1, ::1000] = -size
    made = store([(width,)], 2)
    made.add(0, lambda: tile)
    want = tile.double().norm(dim=1)
    assert float(((made.norms() - want) / want).abs().max()) < 1e-12


def test_the_store_is_chosen_by_the_bytes_of_the_buffer():
    shapes = [(4, 100), (60, 4)]
    device = torch.device("cpu")
    assert isinstance(gradient_store(shapes, 8, torch.float32, device, 8 * 640 * 4), GradientBuffer)
    assert isinstance(gradient_store(shapes, 8, torch.float32, device, 8 * 640 * 4 - 1), RecomputedGradients)
