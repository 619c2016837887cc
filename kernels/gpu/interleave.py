"""Eight vectors side by side: column j of the result is the j-th vector."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["interleave8"]


@triton.jit
def interleave8(n0, n1, n2, n3, n4, n5, n6, n7, BLOCK: tl.constexpr):
    """`[BLOCK, 8]` from eight `[BLOCK]`."""
    # Each join adds a last dimension, so the lowest bit of the column is joined last.
    even = tl.join(tl.join(n0, n4), tl.join(n2, n6))
    odd = tl.join(tl.join(n1, n5), tl.join(n3, n7))
    return tl.reshape(tl.join(even, odd), [BLOCK, 8])
