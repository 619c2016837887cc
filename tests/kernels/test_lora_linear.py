"""Fused LoRA layers compute what PyTorch's own operations compute, forward and backward, and save only x and h."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lora_conv2d import ConvGeometry, conv2d_per_sample_grad, lora_conv2d
from kernels.lora_embedding import embedding_per_sample_grad, lora_embedding
from kernels.lora_linear import lora_branch, lora_linear


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + len(shape) * 7), dtype=dtype)


def gradients(output, *inputs):
    weights = normal(*output.shape, seed=5).to(output.dtype)
    return torch.autograd.grad((output * weights).sum(), inputs, retain_graph=True)


@settings(max_examples=20, deadline=None)
@given(
    leading=st.sampled_from([(3,), (2, 4), (2, 3, 2)]),
    d_in=st.integers(1, 7),
    d_out=st.integers(1, 7),
    r=st.integers(1, 9),
    transposed=st.booleans(),
    bias=st.booleans(),
)
def test_linear_equals_autograd(leading, d_in, d_out, r, transposed, bias):
    x, A, B = (v.requires_grad_() for v in (normal(*leading, d_in), normal(r, d_in, seed=1), normal(d_out, r, seed=2)))
    weight = normal(d_out, d_in, seed=3)
    b = normal(d_out, seed=4) if bias else None
    want = F.linear(x, weight, b) + 0.7 * F.linear(F.linear(x, A), B)
    got = lora_linear(x, weight.T.contiguous() if transposed else weight, b, A, B, 0.7, transposed)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradients(got, x, A, B), gradients(want, x, A, B))
    base = F.linear(x, weight, b).detach()
    branch = lora_branch(base, x, A, B, 0.7)
    torch.testing.assert_close(branch, want)
    torch.testing.assert_close(gradients(branch, A, B), gradients(want, A, B))


def test_linear_passes_gradcheck():
    x, A, B = (v.requires_grad_() for v in (normal(2, 3, 4), normal(2, 4, seed=1), normal(5, 2, seed=2)))
    weight, bias = normal(5, 4, seed=3), normal(5, seed=4)
    assert torch.autograd.gradcheck(lambda *v: lora_linear(v[0], weight, bias, v[1], v[2], 1.3), (x, A, B))


def test_linear_saves_nothing_but_x_and_h_beside_the_weights():
    saved = []
    x = normal(2, 3, 40).requires_grad_()
    A, B, weight = normal(2, 40, seed=1).requires_grad_(), normal(50, 2, seed=2), normal(50, 40, seed=3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        lora_linear(x, weight, None, A, B, 1.0)
    known = {t.data_ptr() for t in (x, A, B, weight)}
    assert [tuple(t.shape) for t in saved if t.data_ptr() not in known] == [(6, 2)]


def test_an_adapter_in_another_dtype_than_the_base_is_handled():
    x = normal(2, 3, 8, dtype=torch.float32).to(torch.bfloat16).requires_grad_()
    weight = normal(6, 8, seed=3).to(torch.bfloat16)
    A, B = (v.float().requires_grad_() for v in (normal(2, 8, seed=1), normal(6, 2, seed=2)))
    got = lora_linear(x, weight, None, A, B, 0.5)
    want = (F.linear(x, weight) + 0.5 * F.linear(F.linear(x.float(), A), B)).to(torch.bfloat16)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)
    for mine, theirs in zip(gradients(got, x, A, B), gradients(want, x, A, B), strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=5e-2, atol=5e-2)


def test_with_a_sink_the_weights_get_no_gradient_and_the_sink_gets_the_pieces():
    x, A, B = (v.requires_grad_() for v in (normal(2, 3, 4), normal(2, 4, seed=1), normal(5, 2, seed=2)))
    weight = normal(5, 4, seed=3)
    seen = []
    lora_linear(x, weight, None, A, B, 0.7, sink=lambda *pieces: seen.append(pieces)).sum().backward()
    assert A.grad is None
    assert B.grad is None
    (got_x, u, h, g), ones = seen[0], torch.ones(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close([got_x, u, h, g], [x, 0.7 * ones @ B, x @ A.T, ones])
    torch.testing.assert_close(x.grad, ones @ weight + 0.7 * ones @ B @ A)


def test_embedding_equals_autograd():
    ids = torch.tensor([[1, 4, 1], [0, 0, 6]])
    y, A, B = (v.requires_grad_() for v in (normal(2, 3, 5), normal(2, 7, seed=1), normal(5, 2, seed=2)))
    want = y + 0.7 * F.embedding(ids, A.T) @ B.T
    got = lora_embedding(y, ids, A, B, 0.7)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradients(got, y, A, B), gradients(want, y, A, B))


def test_embedding_gradients_per_sample_count_repeated_ids():
    ids, u = torch.tensor([[1, 4, 1], [0, 0, 6]]), normal(2, 3, 2)
    A = normal(2, 7).requires_grad_()
    for i in range(2):
        (want,) = torch.autograd.grad((F.embedding(ids[i], A.T) * u[i]).sum(), A)
        torch.testing.assert_close(embedding_per_sample_grad(ids, u, 7)[i], want)


GEOMETRIES = [
    (ConvGeometry(), 1),
    (ConvGeometry(stride=(2, 1), padding=(1, 2)), 1),
    (ConvGeometry(dilation=(2, 2)), 2),
    (ConvGeometry(groups=2), 1),
]


@pytest.mark.parametrize(("geometry", "groups"), GEOMETRIES)
def test_convolution_equals_autograd(geometry, groups):
    x = normal(2, 4, 7, 8).requires_grad_()
    A = normal(2, 4 // geometry.groups, 3, 2, seed=1).requires_grad_()
    B = normal(6, 2 // groups, 1, 1, seed=2).requires_grad_()
    h = F.conv2d(x, A, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    y = normal(2, 6, *h.shape[2:], seed=3)
    want = y + 0.7 * F.conv2d(h, B, groups=groups)
    got = lora_conv2d(y, x, A, B, 0.7, geometry, groups)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradients(got, x, A, B), gradients(want, x, A, B))


@pytest.mark.parametrize("at_a_time", [1, 2**20])
@pytest.mark.parametrize(("geometry", "groups"), GEOMETRIES)
def test_convolution_gradients_per_sample_equal_autograd(monkeypatch, geometry, groups, at_a_time):
    monkeypatch.setattr("kernels.lora_conv2d._CPU_WINDOWS", at_a_time)
    x = normal(3, 4, 7, 8)
    A = normal(6, 4 // geometry.groups, 3, 2, seed=1).requires_grad_()
    walk = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    grad_y = normal(*F.conv2d(x, A, None, *walk).shape, seed=2)
    got = conv2d_per_sample_grad(x, grad_y, (3, 2), geometry)
    for i in range(3):
        (want,) = torch.autograd.grad((F.conv2d(x[i : i + 1], A, None, *walk) * grad_y[i : i + 1]).sum(), A)
        torch.testing.assert_close(got[i], want)
