"""The idx format of MNIST and Fashion-MNIST: a gzip file with a big-endian header and raw bytes.

Takes the bytes of one `.gz` file; gives a uint8 array. It must never accept a file whose header and length
disagree: a truncated download would otherwise become a smaller data set. Format: http://yann.lecun.com/exdb/mnist
("FILE FORMATS"): two zero bytes, the type code, the number of dimensions, one uint32 per dimension, the data.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.errors import DatasetCorrupt

__all__ = ["parse_idx"]

_UNSIGNED_BYTE = 0x08
_MAX_BYTES = 1 << 28  # far above the largest file read here (47 MB); a crafted gzip cannot fill the memory


def parse_idx(packed: bytes, name: str, dimensions: int) -> NDArray[np.uint8]:
    """Decode one gzip-packed idx file of unsigned bytes.

    Args:
        packed: the file's content.
        name: the file's name, for the error sentence.
        dimensions: how many dimensions it must have: 1 for labels, 3 for images.

    Returns:
        uint8 array of the header's shape, read-only.

    Raises:
        DatasetCorrupt: if it is no gzip file, no idx file of unsigned bytes, or has more or fewer bytes than
            its header says.
    """
    try:
        with gzip.open(io.BytesIO(packed)) as stream:
            shape = _shape(stream.read(4 + 4 * dimensions), name, dimensions)
            expected = math.prod(shape)
            if expected > _MAX_BYTES:
                raise DatasetCorrupt(f"{name} has more than {_MAX_BYTES} values, which no supported data set does")
            raw = stream.read(expected)
            more = stream.read(1)  # the end, and with it the checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetCorrupt(f"{name} is not a complete gzip file: {error}") from None
    if len(raw) != expected or more:
        had = f"more than {expected}" if more else len(raw)
        raise DatasetCorrupt(f"{name} unpacks to {had} values; its header of shape {shape} needs {expected}")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)


def _shape(raw: bytes, name: str, dimensions: int) -> tuple[int, ...]:
    """What the header says: it decides how much is unpacked."""
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise DatasetCorrupt(f"{name} unpacks to {len(raw)} bytes; an idx header alone has {header}")
    zero, kind, found = struct.unpack_from(">HBB", raw)
    if zero != 0 or kind != _UNSIGNED_BYTE or found != dimensions:
        raise DatasetCorrupt(
            f"{name} starts with bytes {raw[:4].hex()}; an idx file of unsigned bytes with {dimensions} "
            f"dimensions starts with 0000{_UNSIGNED_BYTE:02x}{dimensions:02x}"
        )
    return struct.unpack_from(f">{dimensions}I", raw, 4)
