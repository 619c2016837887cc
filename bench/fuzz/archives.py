"""Containers with lies in them: safetensors headers, gzip bombs, zipped arrays of shapes that no memory holds.

Takes good files; gives bytes that declare more than they hold, or hold far more than they show.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

from bench.fuzz.values import changed, encoded, json_text

__all__ = ["gzip_bomb", "npz_changed", "tensors_changed"]

_BOMB_BYTES = 300 * 2**20
# In the place of a tensor's type, shape or offsets.
_LIES: tuple[Any, ...] = (
    "F64", "F16", "I64", "BOOL", "F8_E4M3", "U8", [1], [0], [], [2**32, 2**32], [-1], [0, 0], [0, 2**63], [1, 1],
)  # fmt: skip


def tensors_changed(rng: random.Random, file: bytes) -> bytes:
    """A safetensors file with one thing wrong in its header or in the header's length."""
    (length,) = struct.unpack_from("<Q", file)
    header, body = json.loads(file[8 : 8 + length]), file[8 + length :]
    if rng.random() < 0.1:
        lie = rng.choice([0, 1, length - 1, length + 1, len(file), 2**31, 2**40, 2**63, 2**64 - 1])
        return struct.pack("<Q", lie) + file[8:]
    facts = header.get("__metadata__", {})
    if facts and rng.random() < 0.5:
        header["__metadata__"] = _facts_changed(rng, facts)
    elif rng.random() < 0.5:
        name = rng.choice([name for name in header if name != "__metadata__"])
        entry = header[name]
        entry[rng.choice(["dtype", "shape", "data_offsets"])] = rng.choice(_LIES)
    else:
        header = changed(rng, header)
    text = encoded(json_text(header))
    return struct.pack("<Q", len(text)) + text + body


def _facts_changed(rng: random.Random, facts: dict[str, str]) -> dict[str, str]:
    """Facts are texts; those that hold JSON are changed inside."""
    name = rng.choice(list(facts))
    try:
        inside = json.loads(facts[name])
    except ValueError:
        inside = facts[name]
    return {**facts, name: json_text(changed(rng, inside)) if isinstance(inside, dict) else str(changed(rng, inside))}


@functools.cache
def gzip_bomb(filling: bytes = b"\0") -> bytes:
    """A gzip file of 300 KB that unpacks to 300 MiB of one byte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(filling * 2**20) for _ in range(_BOMB_BYTES // 2**20)]
    return b"".join([*packed, packer.flush()])


def npz_changed(rng: random.Random, file: bytes) -> bytes:
    """A `.npz` file with another header in one of its arrays, or another array."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    descr = rng.choice(["'<i4'", "'<i8'", "'|O'", "'<f8'", "'<U9'", "[('a', '<i4')]", "5", "'x'"])
    shape = rng.choice(["(3,)", "(0,)", "()", "(2, 2)", "(-1,)", f"({2**40},)", f"({2**62}, 4)", "'x'", "(1e9,)"])
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    how = rng.random()
    if how < 0.6:
        members[name] = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + members[name][128:]
    elif how < 0.8:
        members[rng.choice(["../x.npy", "x.npy", "x"])] = members.pop(name)
    else:
        members[name] = gzip.compress(members[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED])) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return out.getvalue()
