"""Every random bit that matters: AES-256-CTR keystreams keyed by the operating system.

Noise, shares and sampling coins are drawn from a `Keystream`. Streams are split by labels, never shared, so that no
two uses see the same bits. A seeded stream exists for tests and marks what it touches as not secure. Library
generators (numpy, torch, random) must never be used for any of this: they are predictable.

Ours and not independently reviewed.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

__all__ = ["KEY_BYTES", "Keystream"]

KEY_BYTES = 32
_ZEROS = bytes(2**16)
_COUNTER = CTR(bytes(16))  # from 0: every stream has a key of its own


class Keystream:
    """One stream of cryptographic randomness, and a tree of independent streams below it.

    Computational assumption: AES-256-CTR and HMAC-SHA-256 are pseudo-random functions.

    Attributes:
        secure: False if the key came from a seed (test mode): whatever uses this stream is not private.
    """

    __slots__ = ("_cipher", "_key", "secure")

    def __init__(self, key: bytes, secure: bool) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self.secure = secure
        self._cipher: CipherContext | None = None  # most streams of a tree are there for their children

    @classmethod
    def system(cls) -> Keystream:
        """A stream with a fresh 256-bit key from the operating system."""
        return cls(os.urandom(KEY_BYTES), secure=True)

    @classmethod
    def from_key(cls, key: bytes, secure: bool = True) -> Keystream:
        """A stream with a given 32-byte key."""
        return cls(key, secure)

    @classmethod
    def seeded(cls, seed: int | bytes) -> Keystream:
        """Test mode: a stream that anyone who knows the seed can repeat."""
        material = seed if isinstance(seed, bytes) else str(seed).encode()
        return cls(hashlib.sha256(b"sotto test seed\0" + material).digest(), secure=False)

    def export_key(self) -> bytes:
        """The 32-byte key, for `from_key` in another process of the same simulation on this machine."""
        return self._key

    def child(self, *labels: str | int) -> Keystream:
        """The independent stream named by `labels`; equal labels name the same stream."""
        encoded = b"child\0"
        for label in labels:
            text = str(label).encode()
            # Type and length first: ("a", "b"), ("ab",) and (1,), ("1",) must all differ.
            encoded += (b"s" if isinstance(label, str) else b"i") + len(text).to_bytes(8, "big") + text
        return Keystream(self._derive(encoded), self.secure)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        return self._stream().update(_ZEROS[:count] if count <= len(_ZEROS) else bytes(count))

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next `count` 64-bit words, writable."""
        return np.frombuffer(bytearray(self.take(8 * count)), dtype="<u8")

    def uniform(self, count: int) -> NDArray[np.float64]:
        """The next `count` numbers in [0, 1), multiples of 2^-53."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def _stream(self) -> CipherContext:
        if self._cipher is None:
            # The stream's own AES key differs from the key that derives children, so that neither reveals the other.
            self._cipher = Cipher(AES256(self._derive(b"stream")), _COUNTER).encryptor()
        return self._cipher

    def _derive(self, purpose: bytes) -> bytes:
        return hmac.digest(self._key, purpose, "sha256")

    def __repr__(self) -> str:
        return f"Keystream(secure={self.secure})"
