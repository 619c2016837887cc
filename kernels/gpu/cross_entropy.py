"""Cross-entropy of rows of logits on the device: loss and gradient in one launch, the gradient over the logits.

One program a row, two passes over the vocabulary: the first for the maximum and the sum of exponentials, the second
writes `(softmax - onehot) * share` where the logits were. All arithmetic is float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.variant import Variant
from kernels.launch_table import architecture, launch

__all__ = ["aot_variants", "cross_entropy_rows"]


@triton.jit
def _cross_entropy_kernel(logits_ptr, targets_ptr, shares_ptr, losses_ptr, vocabulary, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * stride
    target = tl.load(targets_ptr + row)
    share = tl.load(shares_ptr + row).to(tl.float32)
    # Per lane first, one reduction at the end: no serial dependence through a scalar.
    highest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, vocabulary, BLOCK):
        column = first + tl.arange(0, BLOCK)
        values = tl.load(logits_ptr + column, mask=column < vocabulary, other=float("-inf")).to(tl.float32)
        above = tl.maximum(highest, values)
        # A lane that has seen nothing yet has -inf - -inf.
        total = tl.where(above == float("-inf"), 0.0, total * tl.exp(highest - above) + tl.exp(values - above))
        highest = above
    peak = tl.max(highest, 0)
    # A NaN anywhere is in some lane's total, and so in the row's.
    norm = peak + tl.log(tl.sum(tl.where(highest == float("-inf"), total, total * tl.exp(highest - peak)), 0))
    at_target = tl.load(logits_ptr + target).to(tl.float32)
    tl.store(losses_ptr + row, norm - at_target)
    for first in range(0, vocabulary, BLOCK):
        column = first + tl.arange(0, BLOCK)
        mask = column < vocabulary
        values = tl.load(logits_ptr + column, mask=mask, other=float("-inf")).to(tl.float32)
        slope = tl.exp(values - norm) - tl.where(column == target, 1.0, 0.0)
        slope = tl.where(share == 0, 0.0, slope * share)
        tl.store(logits_ptr + column, slope.to(logits_ptr.dtype.element_ty), mask=mask)


def cross_entropy_rows(logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """Losses float32 `[n]`; `logits [n, v]` is overwritten with `(softmax - onehot) * share`.

    Args:
        logits: float32, bfloat16 or float16, rows contiguous.
        targets: int64 `[n]`, in 0..v-1.
        shares: `[n]`, weight of each row's gradient; rows of share 0 get exactly zero.
    """
    rows, vocabulary = logits.shape
    losses = torch.empty(rows, dtype=torch.float32, device=logits.device)
    config = launch("cross_entropy", architecture(logits.device))
    block = min(config.block, triton.next_power_of_2(vocabulary))
    if rows:
        _cross_entropy_kernel[(rows,)](
            logits, targets, shares, losses, vocabulary, logits.stride(0), block, num_warps=config.num_warps
        )
    return losses


def aot_variants() -> list[Variant]:
    """One for each dtype of logits."""
    config = launch("cross_entropy", "any")
    rest = {"targets_ptr": "*i64", "shares_ptr": "*fp32", "losses_ptr": "*fp32", "vocabulary": "i32", "stride": "i64"}
    return [
        Variant(
            f"cross_entropy {dtype}",
            _cross_entropy_kernel,
            {"logits_ptr": f"*{dtype}", **rest},
            {"BLOCK": config.block},
            config.num_warps,
            unaligned=("logits_ptr",),
        )
        for dtype in ("fp32", "bf16")
    ]
