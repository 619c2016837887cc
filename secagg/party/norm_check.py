"""Whether one client's shared vector x has L2 norm at most B: the parties learn this bit and nothing else.

Parties follow the protocol, at least one keeps its shares to itself, and the dealer (`secagg.party.dealer`) tells no
party anything; the client may have sent anything. What parties send each other is masked by numbers of the dealer that
serve once, so every opened word but the last bit is uniform.

1. `N = <x, x> mod 2^64` from one opening of `x - a` and the dealer's `<a, a>`.
2. Huge entries could make the square wrap around to something small. So the parties toss a coin, now that the shares
   are fixed, and take 128 short random projections of x, `z = D S x mod 2^64`, which is linear: each does it alone.
   S stacks 4 independent count sketches (Charikar, Chen and Farach-Colton 2002): each puts every coordinate with a
   random sign into one of 2^13 buckets. D is dense, entries 0 with probability 1/2 and +-1 with 1/4 each, as in the
   modular Johnson-Lindenstrauss tests of Gentry, Halevi and Lyubashevsky (Eurocrypt 2022) and ACORN (Bell et al.,
   USENIX Security 2023).
3. The bit is `N <= B^2` and `|z_j| <= R` for all j, with `R = 17 B`: 257 sign tests in one comparison on CrypTen's
   adder (masks whose bits the dealer shared), then ANDs.

**Accepting.** If `||x|| <= B`, it is refused with probability below 2^-44. Given buckets and D, `z_j` is a sum of
independent signs with weights whose squares sum to at most `4 B^2`; nothing wraps; by Hoeffding and a union bound over
128, `P <= 256 exp(-R^2 / (8 B^2)) = 256 exp(-36.125)`.

**Refusing.** Let x be any vector fixed before the coin, entries in -2^63 .. 2^63 - 1, with `||x|| > B`, and
`L^2 = 10 R^2`. It is accepted with probability below 2^-43, the sum of the worst D and the worst S below:

* If `||x|| <= 2 L`: `||x||^2 <= 11560 B^2 < 2^62` as `B <= 2^24`, so N is the exact square and the test is exact.
* D, for any fixed y = S x (entries around zero) with an entry above 2R: whatever the other terms of `z_j` are, only one
  of the events r = 0 and r = +-1 of its coefficient leaves `|z_j| <= R` possible (if r = 1 and r = -1 both fit, r = 0
  does not), each has probability 1/2, and all 128 pass with at most 2^-128.
* D, for any y without one but `||y|| > L`: no `z_j` wraps (`2^15 2R < 2^63`), `E z^2 = ||y||^2 / 2` and
  `E z^4 <= 3 ||y||^4 / 4`, so by Paley and Zygmund `P(z^2 > ||y||^2 / 10) >= (4/5)^2 / 3`, and all 128 pass with at
  most 0.787^128 < 2^-44.
* S, for x with an entry `|x_i| > 2 L`: given where the others went, a sketch can be within L in all buckets only if i
  goes to the one bucket that is beyond L without it: probability at most 2^-13, and 2^-52 for four.
* S, for x without one but `||x|| > 2 L`: no bucket wraps (`2^28 2L < 2^63`); `||S_l x||^2` has mean `||x||^2` and
  variance at most `2 ||x||^4 / 2^13`, so by Cantelli it is at most `||x||^2 / 4` with probability at most
  `(32/9) 2^-13`, and all four are with less than 2^-44.

The coin's expansion by ChaCha20 is taken for random, as everywhere in this project.

Ours and not independently reviewed.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.chacha import fill_words
from secagg.errors import AggregationError
from secagg.limits import MAX_LENGTH
from secagg.party.communicator import use_mesh
from secagg.party.dealer import Order
from secagg.party.dealer_provider import DealerClient, use_dealer
from secagg.party.mesh import Mesh, MeshBroken
from secagg.randomness import KEY_BYTES
from secagg.xor_shares import xor_join

__all__ = ["MAX_NORM_BOUND", "dense_projections", "norm_within", "order_of", "sketches"]

# The proof above holds up to here: 11560 B^2 must stay below 2^63.
MAX_NORM_BOUND = 2**24

_SKETCHES, _BUCKETS = 4, 2**13
_PROJECTIONS = 128
_REACH = 17  # R / B

# Coordinates sketched at a time, a multiple of a ChaCha20 block's 8 words.
_CHUNK = 2**15
_ROWS = 16  # projections at a time
_SKETCH_NONCE, _DENSE_NONCE = b"norm sketch ", b"norm project"
_SIGNS = 1 + 2 * _PROJECTIONS
# CrypTen's adder: six levels, two words a number. Then all bits into one, one AND for each but the first.
_ANDS = 6 * 2 * _SIGNS + _SIGNS - 1


def order_of(length: int) -> Order:
    """What one check of a vector of `length` needs from the dealer."""
    return Order(length, _SIGNS, _ANDS)


def norm_within(mesh: Mesh, dealer: DealerClient, share: NDArray[np.int64], bound: int, label: bytes = b"") -> bool:
    """Whether the vector that the parties share has L2 norm at most `bound`; all parties call it at the same time.

    False for an honest client with probability below 2^-44, True for any other with probability below 2^-43.

    Args:
        mesh: the parties of the round.
        dealer: this party's end of the round's dealer.
        share: this party's additive share mod 2^64, int64 `[p]`, fixed before the call; it is not changed.
        bound: in grid steps, 1 to 2^24.
        label: whose vector it is; the parties stop if they differ.

    Raises:
        AggregationError: for another bound, or a share that is no vector of int64.
        MeshBroken: if a party or the dealer is gone, or is at another check; nothing was opened.
    """
    if type(bound) is not int or not 1 <= bound <= MAX_NORM_BOUND:
        raise AggregationError(f"a norm check against {bound!r} grid steps; allowed: 1 to {MAX_NORM_BOUND}")
    if share.ndim != 1 or share.dtype != np.dtype("=i8") or not 1 <= len(share) <= MAX_LENGTH:
        raise AggregationError(f"a norm check of {share.dtype} {share.shape}; allowed: int64 vectors up to 2^28 long")
    own = torch.from_numpy(np.ascontiguousarray(share))
    dealer.ask(order_of(len(share)))
    coin = _toss(mesh, {"number": dealer.number, "length": len(share), "bound": bound, "label": label})
    projections = dense_projections(sketches(own, coin, _SKETCHES, _BUCKETS), coin, _PROJECTIONS)
    dealer.collect()
    crypten = use_mesh(mesh)
    use_dealer(dealer)
    try:
        shares = crypten.mpc.primitives.ArithmeticSharedTensor.from_shares
        norm = _square_norm(shares(own, precision=0), dealer)
        reach = shares(projections, precision=0)
        tests = [bound * bound - norm, _REACH * bound - reach, _REACH * bound + reach]
        # R - z or R + z is negative whenever |z| > R, also where the other one wraps around.
        together = shares(torch.cat([test.share.reshape(-1) for test in tests]), precision=0)
        return bool(_all(_not_negative(together, dealer), crypten).reveal().item() & 1)
    finally:
        use_dealer(None)
        use_mesh(None)


def sketches(vector: Tensor, coin: bytes, count: int, buckets: int) -> Tensor:
    """`S x`: `count` count sketches of int64 `vector [p]`, int64 `[count * buckets]` mod 2^64.

    Args:
        vector: a vector or one share of it.
        coin: 32 random bytes.
        count: 1 to 4; a coordinate's word of the coin's keystream has 16 bits for each.
        buckets: a power of two, at most 2^15.
    """
    # The sign is the bucket's highest bit: added to one half of the table, subtracted as the other.
    table = torch.zeros(count, 2, buckets, dtype=torch.int64)
    for start in range(0, len(vector), _CHUNK):
        part = vector[start : start + _CHUNK]
        words = torch.empty(len(part), dtype=torch.int64)
        fill_words(words.view(torch.int32), coin, _SKETCH_NONCE, start // 8)
        for index in range(count):
            where = (words >> (16 * index)) & (2 * buckets - 1)
            table[index].view(-1).scatter_add_(0, where, part)
    return (table[:, 0] - table[:, 1]).reshape(-1)


def dense_projections(vector: Tensor, coin: bytes, count: int) -> Tensor:
    """`D y`: int64 `[count]` mod 2^64 of int64 `vector [n]`; D's entries are differences of two random bits.

    Raises:
        ValueError: if n is no multiple of 32.
    """
    if len(vector) % 32:
        raise ValueError(f"projections of length {len(vector)}; allowed: multiples of 32")
    words = torch.empty(2 * count * len(vector) // 64, dtype=torch.int64)
    fill_words(words.view(torch.int32), coin, _DENSE_NONCE)
    packed = words.numpy().view(np.uint8).reshape(2 * count, -1)
    y, rows = vector.numpy(), []
    for start in range(0, 2 * count, _ROWS):
        bits = np.unpackbits(packed[start : start + _ROWS], axis=1).astype(np.int64)
        rows.append(bits @ y)
    sums = np.concatenate(rows)
    return torch.from_numpy(sums[:count] - sums[count:])


def _toss(mesh: Mesh, check: dict[str, Any]) -> bytes:
    """A coin that no one knew before: the XOR of 32 fresh bytes from everybody, who must all be at the same check."""
    coin = os.urandom(KEY_BYTES)
    for rank, frame in mesh.exchange("coin", {**check, "coin": coin}).items():
        part = frame.facts.pop("coin", None)
        if frame.facts != check or not isinstance(part, bytes) or len(part) != KEY_BYTES:
            raise MeshBroken(f"party {rank} is at another norm check")
        coin = xor_join((coin, part))
    return coin


def _square_norm(x: Any, dealer: DealerClient) -> Any:
    """`<x, x> = <a, a> + 2 <a, e> + <e, e>` with `e = x - a` opened (Beaver 1991), an arithmetic share `[]`."""
    mask, square = dealer.inner_square()
    opened = (x - mask).reveal()
    return square + mask.matmul(opened) * 2 + torch.dot(opened, opened)


def _not_negative(values: Any, dealer: DealerClient) -> Any:
    """Bits `[n]` in binary shares (bit 0 of each word): 1 where the arithmetic share `[n]` is 0 or more.

    Opens `values - rho` for a random rho whose bits are shared (edaBits, Escudero et al. 2020), and adds rho in binary.
    """
    masks, bits = dealer.sign_masks()
    opened = (values - masks).reveal()
    return (~(bits + opened) >> 63) & 1


def _all(bits: Any, crypten: Any) -> Any:
    """The AND of all bits `[n]`, `[1]`, in rounds that halve them."""
    shares = crypten.mpc.primitives.BinarySharedTensor.from_shares
    words = bits.share
    while len(words) > 1:
        half = len(words) // 2
        both = shares(words[:half], precision=0) & shares(words[half : 2 * half], precision=0)
        words = torch.cat([both.share, words[2 * half :]])
    return shares(words, precision=0)
