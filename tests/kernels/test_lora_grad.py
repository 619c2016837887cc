"""Per-sample gradients equal the float64 reference and plain autograd, for every layer kind and awkward shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import (
    lora_per_sample_grads,
)
from kernels.lora_grad import squared_norms
from kernels.reference import reference_lora_per_sample_grads


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(0, 5),
    t=st.integers(1, 7),
    d_in=st.integers(1, 9),
    d_out=st.integers(1, 9),
    r=st.integers(1, 5),
    scaling=st.floats(0.1, 4),
    seed=st.integers(0, 1000),
)
def test_lora_gradients_and_norms_equal_the_float64_reference(b, t, d_in, d_out, r, scaling, seed):
    g = generator(seed)
    x, gy = torch.randn(b, t, d_in, generator=g), torch.randn(b, t, d_out, generator=g)
    A, B = torch.randn(r, d_in, generator=g), torch.randn(d_out, r, generator=g)
    grad_A, grad_B, norms = lora_per_sample_grads(x, gy, A, B, scaling)
    assert grad_A.shape == (b, r, d_in)
    assert grad_B.shape == (b, d_out, r)
    assert norms.shape == (b,)
    if b:
        ref_A, ref_B, ref_norms = reference_lora_per_sample_grads(x, gy, A, B, scaling)
        torch.testing.assert_close(grad_A.double(), ref_A, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(grad_B.double(), ref_B, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(norms, ref_norms, rtol=1e-4, atol=1e-5)


def test_lora_gradients_equal_autograd_one_sample_at_a_time():
    g = generator(0)
    x = torch.randn(3, 5, 7, generator=g, dtype=torch.float64)
    W = torch.randn(4, 7, generator=g, dtype=torch.float64)
    A = torch.randn(2, 7, generator=g, dtype=torch.float64, requires_grad=True)
    B = torch.randn(4, 2, generator=g, dtype=torch.float64, requires_grad=True)

    def loss(sample):
        return (sample @ W.T + 1.5 * (sample @ A.T) @ B.T).tanh().sum()

    y = x @ W.T + 1.5 * (x @ A.T) @ B.T
    grad_y = (1 - y.tanh().square()).detach()
    grad_A, grad_B, _ = lora_per_sample_grads(x, grad_y, A.detach(), B.detach(), 1.5)
    for i in range(3):
        want_A, want_B = torch.autograd.grad(loss(x[i]), (A, B))
        torch.testing.assert_close(grad_A[i], want_A)
        torch.testing.assert_close(grad_B[i], want_B)


def test_norms_are_those_of_the_stored_values_to_1e_7_even_for_millions_of_coordinates():
    grad = torch.randn(2, 2_360_000, generator=generator(1))
    want = torch.stack([row.double().square().sum() for row in grad])
    torch.testing.assert_close(squared_norms(grad), want, rtol=1e-7, atol=0)


def test_leading_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in batch or positions"):
        lora_per_sample_grads(torch.zeros(2, 3, 4), torch.zeros(2, 2, 5), torch.zeros(1, 4), torch.zeros(5, 1), 1.0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shapes do not fit"):
        lora_per_sample_grads(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5), torch.zeros(1, 6), torch.zeros(5, 1), 1.0)
