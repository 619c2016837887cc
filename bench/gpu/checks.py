"""What `bench.gpu` checks before it measures, and replay of the private stage as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.lora_step.shapes import Cell, Shape
from bench.measure import round_robin
from kernels import (
    GaussianNoise,
    GradientBuffer,
    clip_and_sum_counted,
    embedding_per_sample_grad,
    squared_norms,
)
from kernels.chacha import chacha20_words, key_tensors
from kernels.clip_sum import MARGIN
from kernels.discrete_table import discrete_gaussian_table
from kernels.gaussian import gaussian_noise
from kernels.linear_cross_entropy import linear_cross_entropy
from kernels.reference import reference_lora_per_sample_grads
from kernels.ring_encode import ring_encode

KEY, NONCE = bytes(range(32)), bytes(12)


def correctness(device: str) -> list[dict[str, Any]]:
    """Every check with the figure it looked at and whether it holds."""
    checks = [_keystream(device), _gaussian(device), *_gradients(device), *_sums(device), _ring(device), _loss(device)]
    checks.append(_embedding(device))
    return checks + [_whole_gradient(device, dtype) for dtype in (torch.float32, torch.bfloat16)]


def _check(name: str, figure: float, limit: float) -> dict[str, Any]:
    return {"check": name, "figure": figure, "limit": limit, "holds": figure <= limit}


def _keystream(device: str) -> dict[str, Any]:
    # RFC 8439, section 2.3.2
    words = chacha20_words(KEY, bytes.fromhex("000000090000004a00000000"), 16, 1, device).cpu()
    start = words.numpy().tobytes()[:32].hex() == "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
    long = torch.equal(chacha20_words(KEY, NONCE, 10**6, 7, device).cpu(), chacha20_words(KEY, NONCE, 10**6, 7))
    return _check("ChaCha20 words that differ from RFC 8439 or OpenSSL", float(not (start and long)), 0)


def _gaussian(device: str) -> dict[str, Any]:
    gap = gaussian_noise(10**6 + 1, KEY, NONCE, device).cpu() - gaussian_noise(10**6 + 1, KEY, NONCE)
    return _check("Gaussian noise, largest distance from the CPU's", float(gap.abs().max()), 1e-13)


def _gradients(device: str) -> list[dict[str, Any]]:
    found = []
    for shape in ((3, 20, 768, 2304, 4), (2, 130, 3072, 768, 16), (2, 33, 100, 70, 64)):
        b, t, d_in, d_out, r = shape
        torch.manual_seed(0)
        x, g = torch.randn(b, t, d_in), torch.randn(b, t, d_out)
        a, weight_b = torch.randn(r, d_in), torch.randn(d_out, r)
        want_a, want_b, _ = reference_lora_per_sample_grads(x, g, a, weight_b, 0.5)
        store = GradientBuffer([(r, d_in), (d_out, r)], b, device=device)
        x, g, a, weight_b = (v.to(device) for v in (x, g, a, weight_b))
        store.add_pair(0, 1, x, 0.5 * (g @ weight_b), x @ a.T, g, 0.5)
        want = torch.cat([want_a.flatten(1), want_b.flatten(1)], 1)
        gap = (store.grads.cpu().double() - want).norm() / want.norm()
        found.append(_check(f"per-sample gradients {shape}, relative", float(gap), 1e-5))
        norm = (store.norms().cpu() / store.grads.cpu().double().norm(dim=1) - 1).abs().max()
        found.append(_check(f"their norms {shape}, relative", float(norm), 1e-6))
    return found


def _sums(device: str) -> list[dict[str, Any]]:
    torch.manual_seed(1)
    grads, segments = torch.randn(37, 100_003), torch.randint(0, 5, (37,))
    grads[4, 9] = float("nan")
    squares = squared_norms(grads)
    moved = (grads.to(device), squares.to(device))
    want = clip_and_sum_counted(grads, squares, 3.0, segments, 2.0**20, 5).total
    got = clip_and_sum_counted(*moved, 3.0, segments.to(device), 2.0**20, 5).total.cpu()
    noise = GaussianNoise(0.1, KEY, NONCE)
    floats = clip_and_sum_counted(grads, squares, 3.0, noise=noise).total
    gap = clip_and_sum_counted(*moved, 3.0, noise=noise).total.cpu() - floats
    return [
        _check("integer sums that differ from the CPU's", float((want != got).sum()), 0),
        _check("float sum with noise, largest distance from the CPU's", float(gap.abs().max()), 1e-5),
    ]


def _ring(device: str) -> dict[str, Any]:
    total = torch.randint(-(2**40), 2**40, (100_001,), generator=torch.Generator().manual_seed(2))
    noise = (discrete_gaussian_table(2.0**20), KEY)
    masks = [bytes([i]) * 32 for i in (1, 2)]
    wrong = sum(
        int((ring_encode(total.to(device), masks, noise, bits).cpu() != ring_encode(total, masks, noise, bits)).sum())
        for bits in (64, 32, 20)
    )
    return _check("ring encodings that differ from the CPU's", float(wrong), 0)


def _embedding(device: str) -> dict[str, Any]:
    torch.manual_seed(5)
    ids, u = torch.randint(0, 7, (3, 500)), torch.randn(3, 500, 4)
    want = torch.einsum("btv,btr->brv", torch.nn.functional.one_hot(ids, 7).double(), u.double())
    got = [embedding_per_sample_grad(ids.to(device), u.to(device), 7).cpu() for _ in range(5)]
    repeats = all(torch.equal(got[0], again) for again in got)
    gap = float((got[0] - want).norm() / want.norm()) if repeats else float("inf")
    return _check("gradients of embeddings, relative, the same bits every time", gap, 1e-5)


def _loss(device: str) -> dict[str, Any]:
    torch.manual_seed(3)
    hidden, weight = torch.randn(3, 50, 64), torch.randn(1009, 64)
    labels = torch.randint(0, 1009, (3, 50))
    want = torch.nn.functional.cross_entropy(
        (hidden.double() @ weight.double().T).transpose(1, 2), labels, reduction="none"
    ).mean(1)
    got = linear_cross_entropy(hidden.to(device), weight.to(device), labels.to(device), chunk=64)
    return _check("losses of the linear head, relative", float((got.cpu() / want - 1).abs().max()), 1e-5)


def _whole_gradient(device: str, dtype: torch.dtype) -> dict[str, Any]:
    """The private gradient of a small GPT-2 against autograd, one sample at a time."""
    from bench.lora_step.methods import plain_losses
    from bench.lora_step.shapes import TINY, lora_model
    from fl_core import PrivateGradient
    from fl_core.adapters import trainable_parameters
    from fl_core.causal_lm import CausalLmLoss

    model = lora_model(TINY, 4, "all", device, dtype)
    ids = torch.randint(0, TINY.vocabulary, (5, 9), generator=torch.Generator().manual_seed(4)).to(device)
    parameters = [p for _, p in trainable_parameters(model)]
    rows = []
    for sample in ids:
        loss = plain_losses(model(input_ids=sample[None]), {"input_ids": sample[None]}).sum()
        grads = torch.autograd.grad(loss, parameters)
        rows.append(torch.cat([grad.flatten().double() for grad in grads]))
    clip = float(torch.stack([row.norm() for row in rows]).median())
    want = torch.stack([row * min(1.0, clip / float(row.norm())) for row in rows]).sum(0)
    got = PrivateGradient(model, clip)({"input_ids": ids}, CausalLmLoss()).total.double()
    limit = 1e-5 if dtype == torch.float32 else 3e-2
    return _check(f"private gradient of a GPT-2 in {dtype}, relative", float((got - want).norm() / want.norm()), limit)


def pair_kernel(x: Tensor, u: Tensor, h: Tensor, g: Tensor) -> Callable[[], object]:
    """One layer's per-sample gradients with their norms, as the buffer makes them."""
    rank = u.shape[-1]
    store = GradientBuffer([(rank, x.shape[-1]), (g.shape[-1], rank)], x.shape[0], device=x.device)

    def run() -> None:
        store.clear()
        store.add_pair(0, 1, x, u, h, g, 1.0)

    return run


def graph_replay(device: str, shape: Shape) -> list[dict[str, Any]]:
    """The stage's kernels, noise among them, captured once and replayed, against the same launches one by one."""
    if device != "cuda":
        return []
    from kernels.gpu.clip_sum import clip_factors, clip_sum

    rows = []
    for cell in (Cell(16, 20, 4, "c_attn"), Cell(16, 128, 4, "c_attn"), Cell(16, 128, 16, "all")):
        pairs = shape.pairs(cell.targets)
        b, t, r = cell.batch, cell.tokens, cell.rank
        seen = [tuple(torch.randn(b, t, w, device=device) for w in (i, r, r, o)) for i, o in pairs]
        store = GradientBuffer([s for i, o in pairs for s in ((r, i), (o, r))], b, device=device)
        total = torch.empty(1, store.length, device=device)
        key, nonce = key_tensors(KEY, NONCE, device)

        def stage(seen: Any = seen, store: Any = store, total: Tensor = total, words: Any = (key, nonce, 1.0)) -> None:
            store.clear()
            for index, (x, u, h, g) in enumerate(seen):
                store.add_pair(2 * index, 2 * index + 1, x, u, h, g, 1.0)
            factors, _ = clip_factors(store._norms[:, : store._width], 1.0, MARGIN)
            clip_sum(store.grads, factors, None, None, total, words)

        stage()
        stage()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            stage()
        stage()
        want = total.clone()
        graph.replay()
        same = bool(torch.equal(want, total))
        times = round_robin({"launches": stage, "graph": graph.replay}, 50, device)
        rows.append(cell.row | {"same_bits": same, "methods": times})
    return rows
