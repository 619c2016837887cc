"""From a client's integer sum to what it may send: plus discrete noise, minus masks, in a ring of 2^b numbers.

Runs where the sum is: on a GPU in one launch, so that the plain sum never leaves the device. Noise and masks are
functions of their keys alone, bit for bit the same on a CPU. A key must never serve twice, and this module makes none.

Ours and not independently reviewed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.backend import runs_triton
from kernels.chacha import KEY_BYTES, NONCE_BYTES, fill_words, word_filler
from kernels.discrete_table import WORD_BITS, DiscreteGaussianTable

__all__ = ["discrete_gaussian_noise", "noise_nonce", "ring_decode", "ring_encode", "ring_mask", "subtract_mask"]

# Elements worked on at a time on a CPU, so that words stay in the processor's cache.
_CHUNK = 2**15
_MASK_CHUNK = 2**17
MASK_NONCE = bytes(NONCE_BYTES)
NARROW_BITS = 32  # up to here a mask word has 32 bits


def noise_nonce(level: int) -> bytes:
    """Nonce of one level's words under a noise key: levels must not share words."""
    return b"noise\0\0\0" + level.to_bytes(4, "little")


def ring_encode(
    total: Tensor,
    masks: Sequence[bytes],
    noise: tuple[DiscreteGaussianTable, bytes] | None = None,
    bits: int = 64,
) -> Tensor:
    """`total + noise - sum of PRG(mask) mod 2^bits`, int64 `[p]` in `-2^(bits-1) .. 2^(bits-1) - 1`.

    PRG(seed) is the ChaCha20 keystream of the seed with nonce zero, one little-endian word an element, of which the
    lowest `bits` count: words of 32 bits in rings of up to 2^32 elements, which halves the work, else of 64.

    Args:
        total: int64 `[p]`.
        masks: 32-byte seeds, each known to one other party and used once.
        noise: table and 32-byte key of discrete Gaussian noise to add, or None.
        bits: ring width, 2 to 64; the caller sees to the headroom.

    Raises:
        ValueError: for a total that is not one-dimensional int64, keys of another length or given twice, or another
            width.
    """
    if total.dim() != 1 or total.dtype != torch.int64:
        raise ValueError(f"a total is one-dimensional int64, got {total.dtype} {tuple(total.shape)}")
    _check_bits(bits)
    keys = [*masks, *([noise[1]] if noise else [])]
    if any(len(key) != KEY_BYTES for key in keys) or len(set(keys)) < len(keys):
        raise ValueError(f"mask seeds and noise key are {KEY_BYTES} bytes each, and no two are the same")
    if runs_triton(total):
        from kernels.gpu.ring_encode import ring_encode_launch

        return ring_encode_launch(total, masks, noise, bits)
    out = total.clone()
    if noise is not None:
        _add_noise(out, *noise, first=0)
    for seed in masks:
        subtract_mask(out, seed, bits)
    return ring_decode(out, bits)


def ring_mask(seed: bytes, count: int, bits: int = 64) -> Tensor:
    """One seed's mask, int64 `[count]` in the ring, on a CPU."""
    _check_bits(bits)
    out = torch.zeros(count, dtype=torch.int64)
    subtract_mask(out, seed, bits)
    return ring_decode(out.neg_(), bits)


def subtract_mask(into: Tensor, seed: bytes, bits: int) -> None:
    """`into -= PRG(seed)` in place, right modulo 2^bits, on a CPU and without memory for the mask.

    Args:
        into: int64 `[p]`; in rings of up to 2^32 elements also int32, which takes half the time.
        seed: 32 bytes.
        bits: ring width, 2 to 64.

    Raises:
        ValueError: for another type or width.
    """
    _check_bits(bits)
    narrow = bits <= NARROW_BITS
    if into.dtype != torch.int64 and not (narrow and into.dtype == torch.int32):
        raise ValueError(f"a ring of 2^{bits} elements held as {into.dtype}")
    words = 1 if narrow else 2
    room = torch.empty(words * min(_MASK_CHUNK, len(into)), dtype=torch.int32)
    fill = word_filler(seed, MASK_NONCE)
    for start in range(0, len(into), _MASK_CHUNK):
        part = into[start : start + _MASK_CHUNK]
        drawn = room[: words * len(part)]
        fill(drawn)
        # Signed or not: a narrow word's sign only reaches bits that do not count.
        part -= drawn if narrow else drawn.view(torch.int64)


def ring_decode(total: Tensor, bits: int) -> Tensor:
    """Representatives of int64 ring elements around zero: what a sum of encodings stands for."""
    _check_bits(bits)
    return total if bits == 64 else total << (64 - bits) >> (64 - bits)


def discrete_gaussian_noise(
    count: int, table: DiscreteGaussianTable, key: bytes, device: torch.device | str = "cpu", first: int = 0
) -> Tensor:
    """Draws number `first` to `first + count - 1` of a key's discrete Gaussian noise, int64 `[count]`.

    Each draw of each level compares 126 fresh bits with the table; its distance from the exact distribution is
    `table.error`, below 2^-60. Ours and unreviewed; tested against exact probabilities and OpenDP.

    Args:
        count: how many.
        table: from `discrete_gaussian_table`.
        key: 32 fresh bytes, used for nothing else.
        device: where they are wanted.
        first: a multiple of 8.

    Raises:
        ValueError: for another key length, or a `first` that is no multiple of 8.
    """
    if first % 8 or first < 0:
        raise ValueError(f"first is {first}; allowed: multiples of 8")
    out = torch.zeros(count, dtype=torch.int64, device=device)
    if runs_triton(out):
        from kernels.gpu.ring_encode import ring_encode_launch

        return ring_encode_launch(out, (), (table, key), 64, first)
    _add_noise(out, table, key, first)
    return out


def _add_noise(out: Tensor, table: DiscreteGaussianTable, key: bytes, first: int) -> None:
    for level, (reach, stride) in enumerate(zip(table.reaches, table.strides, strict=True)):
        high, low = table.high[level], table.low[level]
        for start in range(0, len(out), _CHUNK):
            part = out[start : start + _CHUNK]
            words = torch.empty(2 * len(part), dtype=torch.int64)
            fill_words(words.view(torch.int32), key, noise_nonce(level), (first + start) // 4)
            draws = _search(high, low, *_uniform(words.view(-1, 2)))
            part += stride * (draws.clamp_(max=2 * reach) - reach)


def _uniform(words: Tensor) -> tuple[Tensor, Tensor]:
    """Two 63-bit halves from two 64-bit words: their top bits, without the sign."""
    halves = (words >> 1) & ((1 << WORD_BITS) - 1)
    return halves[:, 0].contiguous(), halves[:, 1]


def _search(high: Tensor, low: Tensor, u_high: Tensor, u_low: Tensor) -> Tensor:
    """How many thresholds are at most each uniform number."""
    count = torch.searchsorted(high, u_high, right=True)
    # Equal leading halves, which happens once in 2^50 draws: the other half decides.
    tied = (high[(count - 1).clamp_(min=0)] == u_high) & (count > 0)
    for index in torch.nonzero(tied).flatten().tolist():
        same = high == u_high[index]
        count[index] = int((high < u_high[index]).sum()) + int((low[same] <= u_low[index]).sum())
    return count


def _check_bits(bits: int) -> None:
    if not 2 <= bits <= 64:
        raise ValueError(f"a ring has 2^{bits} elements; allowed: 2^2 to 2^64")
