"""The per-sample kernel writes the reference's gradients into the flat buffer, with the norms of what it stored."""

from __future__ import annotations

import pytest
import torch

from kernels.gpu.lora_grad import lora_grads, norm_tiles
from kernels.launch_table import architecture

INTERPRETED = [pytest.param("cpu", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU runs instead"))]
DEVICES = [*INTERPRETED, pytest.param("cuda", marks=pytest.mark.gpu)]
AROUND = 5  # columns of the buffer before, between and after


def case(device, b, t, d_in, d_out, r, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    pieces = [torch.randn(b, t, width, generator=g).to(dtype).to(device) for width in (d_in, r, r, d_out)]
    width = 3 * AROUND + r * (d_in + d_out)
    buffer = torch.full((b, width), 7.0, device=device)
    first, second = AROUND, 2 * AROUND + r * d_in
    grad_a = buffer[:, first : first + r * d_in].view(b, r, d_in)
    grad_b = buffer[:, second : second + r * d_out].view(b, d_out, r)
    tiles = norm_tiles(d_in, d_out, r, architecture(buffer.device))
    squares = torch.full((b, tiles + 2), -1.0, dtype=torch.float64, device=device)
    return pieces, buffer, grad_a, grad_b, squares


def truth(x, u, h, g):
    x, u, h, g = (value.double() for value in (x, u, h, g))
    return u.transpose(1, 2) @ x, g.transpose(1, 2) @ h


SHAPES = [
    (1, 1, 1, 1, 1),
    (3, 3, 6, 130, 3),
    (2, 20, 130, 6, 4),
    (2, 65, 96, 40, 16),
    (1, 7, 20, 33, 64),
    (5, 2, 9, 8, 5),
]
LARGE = [(16, 128, 768, 2304, 4), (8, 512, 3072, 768, 16), (2, 300, 4096, 14336, 64), (4, 100, 1000, 999, 3)]


@pytest.mark.parametrize("device", INTERPRETED)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_and_norms_equal_the_float64_truth(device, shape):
    check(device, shape, torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_gradients_and_norms_equal_the_float64_truth_on_a_gpu(shape, dtype):
    check("cuda", shape, dtype)


@pytest.mark.parametrize("device", INTERPRETED)
def test_bfloat16_inputs_are_accumulated_in_float32(device):
    check(device, (2, 33, 20, 17, 4), torch.bfloat16)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("r", [1, 4, 16, 64])
def test_no_norm_is_too_small_by_1e_6_for_one_huge_number_among_tiny_ones(device, r):
    tiny = 2.0**-12.6  # whose square is less than half a unit in the last place of 1
    pieces, _, grad_a, grad_b, squares = case(device, 1, 1, 600, 600, r)
    for wide, narrow in ((pieces[0], pieces[1]), (pieces[3], pieces[2])):
        wide.fill_(tiny)[0, 0, 3] = 1.0
        narrow.fill_(tiny)[0, 0, 0] = 1.0
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    stored = grad_a.double().square().sum() + grad_b.double().square().sum()
    assert abs(float((squares[0, :-2].sum() / stored).sqrt()) - 1) <= 1e-6


def check(device, shape, dtype):
    pieces, buffer, grad_a, grad_b, squares = case(device, *shape, dtype=dtype)
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    want_a, want_b = truth(*pieces)
    # The inputs are exact in float64, so that only the accumulation can differ.
    size = shape[1] ** 0.5
    torch.testing.assert_close(grad_a.double(), want_a, rtol=1e-5, atol=2e-5 * size)
    torch.testing.assert_close(grad_b.double(), want_b, rtol=1e-5, atol=2e-5 * size)
    stored = grad_a.double().square().sum((1, 2)) + grad_b.double().square().sum((1, 2))
    torch.testing.assert_close(squares[:, :-2].sum(1), stored, rtol=5e-7, atol=0)
    assert bool((squares[:, -2:] == -1).all())
    untouched = torch.ones(buffer.shape[1], dtype=torch.bool)
    untouched[AROUND : AROUND + want_a[0].numel()] = False
    untouched[2 * AROUND + want_a[0].numel() : 2 * AROUND + want_a[0].numel() + want_b[0].numel()] = False
    assert bool((buffer[:, untouched] == 7.0).all())


@pytest.mark.parametrize("device", DEVICES)
def test_a_second_pass_adds_and_its_norms_are_of_the_sum(device):
    pieces, _, grad_a, grad_b, squares = case(device, 2, 5, 9, 7, 3)
    more = case(device, 2, 4, 9, 7, 3, seed=1)[0]
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    lora_grads(*more, grad_a, grad_b, squares[:, :-2], True)
    want_a, want_b = (one + other for one, other in zip(truth(*pieces), truth(*more), strict=True))
    torch.testing.assert_close(grad_a.double(), want_a, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad_b.double(), want_b, rtol=1e-5, atol=1e-5)
    stored = want_a.square().sum((1, 2)) + want_b.square().sum((1, 2))
    torch.testing.assert_close(squares[:, :-2].sum(1), stored, rtol=1e-5, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", ["a", "b"])
def test_a_frozen_half_is_not_computed(device, half):
    pieces, buffer, grad_a, grad_b, squares = case(device, 2, 5, 9, 7, 3)
    arch = architecture(buffer.device)
    kept, other = (grad_a, grad_b) if half == "a" else (grad_b, grad_a)
    tiles = norm_tiles(9, 7, 3, arch, half == "a", half == "b")
    lora_grads(*pieces, grad_a if half == "a" else None, grad_b if half == "b" else None, squares[:, :tiles], False)
    torch.testing.assert_close(kept.double(), truth(*pieces)[0 if half == "a" else 1], rtol=1e-5, atol=1e-5)
    assert bool((other == 7.0).all())
    torch.testing.assert_close(squares[:, :tiles].sum(1), kept.double().square().sum((1, 2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_an_empty_batch_and_no_positions_are_fine(device):
    pieces, _, grad_a, grad_b, squares = case(device, 0, 3, 4, 5, 2)
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    pieces, _, grad_a, grad_b, squares = case(device, 2, 0, 4, 5, 2)
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    assert not grad_a.any()
    assert not squares[:, :-2].any()


@pytest.mark.parametrize("device", DEVICES)
def test_results_repeat_bit_for_bit_and_inputs_may_be_strided(device):
    pieces, _, grad_a, grad_b, squares = case(device, 3, 10, 20, 30, 4)
    lora_grads(*pieces, grad_a, grad_b, squares[:, :-2], False)
    first = grad_a.clone(), grad_b.clone(), squares.clone()
    strided = [piece.transpose(0, 1).contiguous().transpose(0, 1) for piece in pieces]
    lora_grads(*strided, grad_a, grad_b, squares[:, :-2], False)
    assert torch.equal(grad_a, first[0])
    assert torch.equal(grad_b, first[1])
    assert torch.equal(squares, first[2])


def test_ranks_above_256_are_refused():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pieces = [torch.zeros(1, 1, width, device=device) for width in (4, 300, 300, 4)]
    with pytest.raises(ValueError, match="up to 256"):
        lora_grads(*pieces, None, None, torch.zeros(1, 1, device=device), False)
