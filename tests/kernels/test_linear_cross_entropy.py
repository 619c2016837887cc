"""The chunked loss is cross-entropy, per sequence, and one sequence's content never touches another's result."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.backend import kernel_backend
from kernels.linear_cross_entropy import linear_cross_entropy


def case(b=3, t=5, d=8, v=11, seed=0, dtype=torch.float32, ignored=0.3):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(b, t, d, generator=g).to(dtype)
    weight = torch.randn(v, d, generator=g).to(dtype)
    labels = torch.randint(0, v, (b, t), generator=g)
    labels[torch.rand(b, t, generator=g) < ignored] = -100
    return hidden, weight, labels, torch.randn(v, generator=g).to(dtype)


def plain(hidden, weight, labels, bias=None, reduction="mean"):
    """PyTorch's own operations on whole logits."""
    logits = F.linear(hidden, weight, bias)
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none").sum(1)
    return losses / (labels != -100).sum(1).clamp(min=1) if reduction == "mean" else losses


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(1, 4),
    t=st.integers(1, 6),
    v=st.integers(2, 40),
    chunk=st.sampled_from([1, 2, 3, 7, None]),
    reduction=st.sampled_from(["mean", "sum"]),
    with_bias=st.booleans(),
    seed=st.integers(0, 99),
    backend=st.sampled_from(["torch", "triton"]),
)
def test_losses_and_gradients_equal_those_of_whole_logits(b, t, v, chunk, reduction, with_bias, seed, backend):
    hidden, weight, labels, bias = case(b, t, 8, v, seed)
    bias = bias if with_bias else None
    inputs = [value.double().requires_grad_() for value in (hidden, weight, *([bias] if with_bias else []))]
    want = plain(*inputs[:2], labels, *inputs[2:] or [None], reduction)
    factors = torch.arange(1.0, b + 1, dtype=torch.float64)
    want_grads = torch.autograd.grad((want * factors).sum(), inputs)
    own = [value.detach().float().requires_grad_() for value in inputs]
    with kernel_backend(backend):
        got = linear_cross_entropy(*own[:2], labels, *own[2:] or [None], reduction, chunk=chunk)
        got_grads = torch.autograd.grad((got * factors.float()).sum(), own)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("chunk", [2, 4, 100])
def test_replacing_one_sequence_leaves_the_others_bit_for_bit(backend, chunk):
    hidden, weight, labels, _ = case(4, 5, seed=1)
    other, _, other_labels, _ = case(4, 5, seed=2)
    results = []
    for mixed_in in (False, True):
        states, targets = hidden.clone(), labels.clone()
        if mixed_in:
            states[2], targets[2] = other[2], other_labels[2]
            targets[2, 1:] = -100
        states.requires_grad_()
        with kernel_backend(backend):
            losses = linear_cross_entropy(states, weight, targets, chunk=chunk)
            results.append((losses.detach(), torch.autograd.grad(losses.sum(), states)[0]))
    keep = [0, 1, 3]
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[keep], after[keep])
        assert not torch.equal(before[2], after[2])


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sequence_that_is_not_finite_spoils_itself_alone(backend, bad):
    hidden, weight, labels, _ = case(3, 4, ignored=0)
    clean = plain(hidden, weight, labels)
    hidden[1, 2, 3] = bad
    hidden.requires_grad_()
    with kernel_backend(backend):
        losses = linear_cross_entropy(hidden, weight, labels, chunk=3)
        (grad,) = torch.autograd.grad(losses.sum(), hidden)
    assert not torch.isfinite(losses[1])
    torch.testing.assert_close(losses[[0, 2]], clean[[0, 2]], rtol=1e-5, atol=1e-6)
    assert bool(torch.isfinite(grad[[0, 2]]).all())
    assert not bool(torch.isfinite(grad[1]).all())


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_ignored_tokens_count_for_nothing_even_if_they_are_not_finite(backend):
    hidden, weight, labels, _ = case(2, 4, ignored=0)
    labels[0, 2] = -100
    labels[1] = -100
    want = plain(hidden, weight, labels)
    hidden[0, 2] = float("nan")
    hidden.requires_grad_()
    with kernel_backend(backend):
        losses = linear_cross_entropy(hidden, weight, labels)
        (grad,) = torch.autograd.grad(losses.sum(), hidden)
    torch.testing.assert_close(losses, want, rtol=1e-5, atol=1e-6)
    assert float(losses[1].detach()) == 0
    assert not grad[0, 2].any()
    assert not grad[1].any()


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_improbable_labels_keep_their_loss(backend):
    hidden, weight = torch.ones(1, 1, 1), torch.tensor([[0.0], [200.0], [500.0]])
    for label, want in ((0, 500.0), (1, 300.0), (2, 0.0)):
        with kernel_backend(backend):
            losses = linear_cross_entropy(hidden, weight, torch.tensor([[label]]))
        assert float(losses) == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_a_float64_loss_has_float64_precision(backend):
    hidden, weight, labels, bias = case(dtype=torch.float64)
    want = plain(hidden, weight, labels, bias)
    with kernel_backend(backend):
        got = linear_cross_entropy(hidden, weight, labels, bias)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_low_precision_is_near_the_float64_truth():
    for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
        hidden, weight, labels, _ = case(3, 6, 16, 50, dtype=dtype)
        hidden.requires_grad_()
        losses = linear_cross_entropy(hidden, weight, labels, chunk=4)
        assert losses.dtype == torch.float32
        truth_hidden = hidden.detach().double().requires_grad_()
        truth = plain(truth_hidden, weight.double(), labels)
        torch.testing.assert_close(losses.double(), truth, rtol=tolerance, atol=tolerance)
        (grad,) = torch.autograd.grad(losses.sum(), hidden)
        (want,) = torch.autograd.grad(truth.sum(), truth_hidden)
        assert float((grad.double() - want).norm() / want.norm()) < tolerance


def test_no_tensor_is_as_large_as_the_logits():
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest.append(result.numel())
            return result

    hidden, weight, labels, _ = case(4, 50, 8, 1000)
    hidden.requires_grad_()
    with Watch():
        linear_cross_entropy(hidden, weight, labels, chunk=16).sum().backward()
    assert max(largest) <= 16 * 1000


def test_no_gradient_is_computed_when_none_is_wanted():
    hidden, weight, labels, _ = case()
    torch.testing.assert_close(linear_cross_entropy(hidden, weight, labels), plain(hidden, weight, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(3, 4, dtype=torch.int64)}, "shapes do not fit"),
        ({"weight": torch.zeros(11, 9)}, "shapes do not fit"),
        ({"labels": torch.full((3, 5), 11)}, "0 to 10"),
        ({"labels": torch.full((3, 5), -1)}, "0 to 10"),
        ({"reduction": "none"}, "'mean', 'sum'"),
        ({"chunk": 0}, "1 or more"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    hidden, weight, labels, _ = case()
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**{"hidden": hidden, "weight": weight, "labels": labels, **change})
