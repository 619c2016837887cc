"""Per-client LoRA branches are each client's own product, forward and backward, and never touch a neighbour."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lora_cohort import cohort_conv2d, cohort_embedding, cohort_linear
from kernels.lora_conv2d import ConvGeometry


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def compare(got, want, inputs):
    """Outputs, and the gradients of one weighted sum."""
    torch.testing.assert_close(got, want)
    weights = normal(*want.shape, seed=9).to(want.dtype)
    mine, theirs = (torch.autograd.grad((y * weights).sum(), inputs) for y in (got, want))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def leaves(*tensors):
    return [tensor.requires_grad_() for tensor in tensors]


@settings(max_examples=20, deadline=None)
@given(
    clients=st.integers(1, 4),
    own=st.integers(1, 3),
    between=st.sampled_from([(), (3,), (2, 2)]),
    d_in=st.integers(1, 5),
    d_out=st.integers(1, 5),
    r=st.integers(1, 6),
)
def test_linear_is_each_clients_own_product(clients, own, between, d_in, d_out, r):
    rows = clients * own
    y, x = normal(rows, *between, d_out), normal(rows, *between, d_in, seed=1)
    A, B = normal(clients, r, d_in, seed=2), normal(clients, d_out, r, seed=3)
    inputs = leaves(y, x, A, B)
    want = [y[i] + 0.7 * F.linear(F.linear(x[i], A[i // own]), B[i // own]) for i in range(rows)]
    compare(cohort_linear(y, x, A, B, 0.7), torch.stack(want), inputs)


def test_flattened_rows_of_all_samples_in_order_are_told_apart():
    x, A, B = normal(2 * 3 * 5, 4), normal(2, 2, 4, seed=1), normal(2, 6, 2, seed=2)
    y = normal(30, 6, seed=3)
    want = cohort_linear(y.view(6, 5, 6), x.view(6, 5, 4), A, B, 2.0)
    torch.testing.assert_close(cohort_linear(y, x, A, B, 2.0), want.view(30, 6))


@settings(max_examples=20, deadline=None)
@given(clients=st.integers(1, 4), own=st.integers(1, 3), tokens=st.integers(1, 5), r=st.integers(1, 4))
def test_embedding_is_each_clients_own_table(clients, own, tokens, r):
    rows = clients * own
    ids = torch.randint(0, 7, (rows, tokens), generator=torch.Generator().manual_seed(rows))
    y, A, B = normal(rows, tokens, 3), normal(clients, r, 7, seed=2), normal(clients, 3, r, seed=3)
    inputs = leaves(y, A, B)
    want = [y[i] + 0.7 * F.embedding(ids[i], A[i // own].T) @ B[i // own].T for i in range(rows)]
    compare(cohort_embedding(y, ids, A, B, 0.7), torch.stack(want), inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("geometry", "groups"),
    [
        (ConvGeometry(), 1),
        (ConvGeometry((2, 1), (1, 2)), 1),
        (ConvGeometry(dilation=(2, 1), padding=(2, 1)), 1),
        (ConvGeometry(groups=2), 2),
        (ConvGeometry((1, 2), (1, 0), (1, 2), 2), 4),
    ],
)
def test_conv2d_is_each_clients_own_convolution(geometry, groups, layout):
    clients, own, r, c_in, c_out = 3, 2, 4, 4, 8
    A = normal(clients, r, c_in // geometry.groups, 3, 2, seed=1)
    B = normal(clients, c_out, r // groups, 1, 1, seed=2)
    x = normal(clients * own, c_in, 9, 8).to(memory_format=layout)
    walk = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    shape = F.conv2d(x[:1], A[0], None, *walk).shape[2:]
    y = normal(clients * own, c_out, *shape, seed=3).to(memory_format=layout)
    inputs = leaves(y, x, A, B)
    want = [
        y[i] + 0.7 * F.conv2d(F.conv2d(x[i], A[i // own], None, *walk), B[i // own], groups=groups)
        for i in range(clients * own)
    ]
    compare(cohort_conv2d(y, x, A, B, 0.7, geometry, groups), torch.stack(want), inputs)


def test_a_low_precision_base_keeps_its_dtype_and_the_adapter_its_own():
    x, y = normal(4, 3, 5, dtype=torch.bfloat16), normal(4, 3, 6, seed=1, dtype=torch.bfloat16)
    A, B = leaves(normal(2, 2, 5, seed=2, dtype=torch.float32), normal(2, 6, 2, seed=3, dtype=torch.float32))
    got = cohort_linear(y, x, A, B, 0.5)
    assert got.dtype == torch.bfloat16
    want = y.view(2, 6, 6).double() + 0.5 * x.view(2, 6, 5).double() @ A.double().mT @ B.double().mT
    torch.testing.assert_close(got.view(2, 6, 6).double(), want, rtol=1e-2, atol=2e-2)
    assert {grad.dtype for grad in torch.autograd.grad(got.float().sum(), [A, B])} == {torch.float32}


def linear(x):
    A, B = leaves(normal(3, 2, 5, seed=1), normal(3, 4, 2, seed=2))
    return cohort_linear(x @ normal(5, 4, seed=3), x, A, B, 1.0), [A, B]


def convolution(x):
    A, B = leaves(normal(3, 2, 5, 3, 3, seed=1), normal(3, 4, 2, 1, 1, seed=2))
    y = F.conv2d(x, normal(4, 5, 3, 3, seed=3), padding=1)
    return cohort_conv2d(y, x, A, B, 1.0, ConvGeometry(padding=(1, 1))), [A, B]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize(("run", "shape"), [(linear, (7, 5)), (convolution, (5, 6, 6))])
def test_what_is_not_finite_stays_with_its_client(run, shape, poison):
    clean = normal(6, *shape)
    dirty = clean.clone()
    dirty[2] = poison  # of client 1
    found = []
    for x in (clean.requires_grad_(), dirty.requires_grad_()):
        y, adapter = run(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *adapter])))
    for want, got in zip(*found, strict=True):
        own = len(want) // 3
        assert not got[own : 2 * own].isfinite().all()
        for others in (slice(0, own), slice(2 * own, 3 * own)):
            torch.testing.assert_close(got[others], want[others])


@pytest.mark.parametrize(("rows", "a", "b"), [(5, 2, 2), (4, 2, 1), (0, 2, 2)])
def test_rows_that_do_not_divide_over_the_clients_are_refused(rows, a, b):
    with pytest.raises(ValueError, match=f"{rows} rows do not divide over {a} clients' A and {b} clients' B"):
        cohort_linear(normal(rows, 6), normal(rows, 5), normal(a, 2, 5), normal(b, 6, 2), 1.0)
