"""Looks for secrets in bytes, in every encoding that software is likely to have put them in, whole or in part.

Takes secrets and bytes; gives which were found, and how they were written there. A piece of 8 raw bytes of a key is
enough (15 in a row always hold one), or three neighbours of a vector. A chance match is one in 2^30 at most. Compressed
or encrypted bytes are looked at as they are.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEY_ENCODINGS", "TEXT_ENCODINGS", "VECTOR_ENCODINGS", "Found", "Index", "Secret"]

KEY_ENCODINGS = (
    "raw", "hex", "HEX", "base64 or PEM", "base64url", "Python repr", "JSON escapes", "decimal bytes", "64-bit numbers",
    "one number",
)  # fmt: skip
VECTOR_ENCODINGS = (
    "int64", "int64 big-endian", "int32", "float32", "float64", "decimal", "decimal with points", "four decimals",
)  # fmt: skip
TEXT_ENCODINGS = ("UTF-8", "UTF-16", "hex", "base64 or PEM", "JSON escapes")

_PIECE = 8
_SEPARATORS = (", ", ",", " ", "  ", "\n", ",\n ", ",\n    ")


@dataclass(frozen=True, repr=False)
class Secret:
    """Something that must not be written.

    Attributes:
        kind: what it is, for tables.
        value: bytes of a key, a text, or three neighbours of a vector.
    """

    kind: str
    value: bytes | str | tuple[float, ...]

    def patterns(self) -> Iterator[tuple[str, bytes]]:
        """(encoding, bytes that show it)."""
        if isinstance(self.value, bytes):
            yield from _of_key(self.value)
        elif isinstance(self.value, str):
            yield from _of_text(self.value)
        else:
            yield from _of_vector(self.value)


@dataclass(frozen=True)
class Found:
    """One secret in one place; it does not say which.

    Attributes:
        kind: of the secret.
        encoding: how it was written.
        place: where.
        offset: in bytes.
    """

    kind: str
    encoding: str
    place: str
    offset: int


@dataclass
class Index:
    """All patterns of some secrets, by their first eight bytes."""

    _by_start: dict[int, list[tuple[bytes, str, str]]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _starts: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    _likely: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(2**16, np.bool_), repr=False)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Look for these too."""
        for secret in secrets:
            for encoding, pattern in secret.patterns():
                if len(pattern) >= _PIECE:
                    start = int.from_bytes(pattern[:_PIECE], "little")
                    self._by_start[start].append((pattern, secret.kind, encoding))
        self._starts = np.array(sorted(self._by_start), dtype=np.uint64)
        self._likely[(self._starts & np.uint64(2**16 - 1)).astype(np.int64)] = True

    def search(self, content: bytes, place: str) -> list[Found]:
        """One find for every kind and encoding that the content shows."""
        starts, likely = self._starts, self._likely
        if not len(starts):
            return []
        found: dict[tuple[str, str], Found] = {}
        for shift in range(_PIECE):
            count = (len(content) - shift) // _PIECE
            if count < 1:
                break
            words: NDArray[np.uint64] = np.frombuffer(content, "<u8", count, shift)
            rows = np.flatnonzero(likely[(words & np.uint64(2**16 - 1)).astype(np.int64)])
            near = words[rows]
            at = np.minimum(np.searchsorted(starts, near), len(starts) - 1)
            for row in rows[starts[at] == near]:
                offset = shift + _PIECE * int(row)
                for pattern, kind, encoding in self._by_start[int(words[row])]:
                    if content.startswith(pattern, offset):
                        found.setdefault((kind, encoding), Found(kind, encoding, place, offset))
        return list(found.values())


def _of_key(value: bytes) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(value) - _PIECE + 1, _PIECE):
        piece = value[start : start + _PIECE]
        yield "raw", piece
        yield "hex", piece.hex().encode()
        yield "HEX", piece.hex().upper().encode()
        yield "Python repr", repr(b"'" + piece)[3:-1].encode()
        yield "JSON escapes", json.dumps(piece.decode("latin-1"))[1:-1].encode()
        for separator in _SEPARATORS:
            yield "decimal bytes", separator.join(map(str, piece)).encode()
        for order in ("little", "big"):
            for signed in (False, True):
                yield "64-bit numbers", str(int.from_bytes(piece, order, signed=signed)).encode()  # type: ignore[arg-type]
    for start in range(0, len(value) - 12 + 1):
        coded = base64.b64encode(value[start : start + 12])
        yield "base64 or PEM", coded
        yield "base64url", coded.translate(bytes.maketrans(b"+/", b"-_"))
    for order in ("little", "big"):
        yield "one number", str(int.from_bytes(value, order)).encode()[:24]  # type: ignore[arg-type]


def _of_text(value: str) -> Iterator[tuple[str, bytes]]:
    content = value.encode()
    yield "UTF-8", content
    yield "UTF-16", value.encode("utf-16-le")
    yield "hex", content.hex().encode()
    yield "JSON escapes", json.dumps(value)[1:-1].encode()
    for shift in range(3):
        whole = (len(content) - shift) // 3 * 3
        yield "base64 or PEM", base64.b64encode(content[shift : shift + whole])


def _of_vector(value: Sequence[float]) -> Iterator[tuple[str, bytes]]:
    numbers = np.asarray(value, np.float64)
    yield "float32", numbers.astype("<f4").tobytes()
    yield "float64", numbers.tobytes()
    whole = bool((numbers == np.rint(numbers)).all())
    if whole:
        yield "int64", numbers.astype("<i8").tobytes()
        yield "int64 big-endian", numbers.astype(">i8").tobytes()
        if np.abs(numbers).max() < 2**31:
            yield "int32", numbers.astype("<i4").tobytes()
    for separator in _SEPARATORS:
        if whole:
            yield "decimal", separator.join(str(int(number)) for number in numbers).encode()
            yield "decimal with points", separator.join(f"{int(number)}." for number in numbers).encode()
        else:
            for kind in (np.float32, np.float64):
                yield "decimal", separator.join(str(kind(number)) for number in numbers).encode()
            yield "four decimals", separator.join(f"{number:.4f}" for number in numbers).encode()
