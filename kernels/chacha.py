"""The ChaCha20 keystream (RFC 8439), from OpenSSL on a CPU and from a kernel on a GPU: the same words on both.

Words are a function of key, nonce and position alone, so that devices, grids and slices agree. It never makes a key:
those are 32 fresh bytes from the operating system, and a (key, nonce) pair serves one purpose once.

Ours and not independently reviewed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from torch import Tensor

from kernels.backend import runs_triton

__all__ = ["BLOCK_WORDS", "KEY_BYTES", "NONCE_BYTES", "chacha20_words", "fill_words", "key_tensors", "word_filler"]

KEY_BYTES = 32
NONCE_BYTES = 12
BLOCK_WORDS = 16
_ZEROS = bytes(2**18)


def chacha20_words(
    key: bytes, nonce: bytes, count: int, first_block: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """The first `count` little-endian 32-bit words of the keystream from block `first_block` on, int32 `[count]`.

    Raises:
        ValueError: for a key or nonce of another length, or blocks beyond the 2^32 that one nonce has.
    """
    _check(key, nonce)
    blocks = -(-count // BLOCK_WORDS)
    if count < 0 or first_block < 0 or first_block + blocks > 2**32:
        raise ValueError(f"{count} words from block {first_block} on; allowed: blocks 0 to 2^32 - 1 of one nonce")
    where = torch.empty(0, device=device)
    if runs_triton(where):
        from kernels.gpu.chacha import chacha20_launch

        return chacha20_launch(*key_tensors(key, nonce, where.device), blocks, first_block)[:count]
    return fill_words(torch.empty(count, dtype=torch.int32), key, nonce, first_block)


def fill_words(out: Tensor, key: bytes, nonce: bytes, first_block: int = 0) -> Tensor:
    """`chacha20_words` into the contiguous int32 tensor `out [count]` on a CPU; returns it."""
    word_filler(key, nonce, first_block)(out)
    return out


def word_filler(key: bytes, nonce: bytes, first_block: int = 0) -> Callable[[Tensor], None]:
    """Fills one contiguous int32 tensor after the other with the keystream from block `first_block` on, on a CPU."""
    _check(key, nonce)
    cipher = Cipher(ChaCha20(key, first_block.to_bytes(4, "little") + nonce), mode=None).encryptor()

    def fill(out: Tensor) -> None:
        stream = memoryview(out.numpy().data).cast("B") if len(out) else memoryview(b"")
        # In pieces against one small block of zeros: fresh pages of zeros would cost more than the cipher.
        for start in range(0, len(stream), len(_ZEROS)):
            piece = stream[start : start + len(_ZEROS)]
            cipher.update_into(_ZEROS[: len(piece)], piece)

    return fill


def key_tensors(key: bytes, nonce: bytes, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Key and nonce as kernels read them: int32 `[8]` and `[3]` on the device.

    Raises:
        ValueError: for another length.
    """
    _check(key, nonce)
    words = torch.frombuffer(bytearray(key + nonce), dtype=torch.int32).to(device)
    return words[:8], words[8:]


def _check(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(
            f"key and nonce have {len(key)} and {len(nonce)} bytes; allowed: {KEY_BYTES} and {NONCE_BYTES}"
        )
