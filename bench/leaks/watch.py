"""Notes the secrets that a process of a run makes or meets, so that `bench.leaks` can look for them afterwards.

Called in forked lives and, through `sitecustomize` on their path, in what they start: functions of the product are
wrapped, none is replaced. The notes go to one file, the vault, which is outside of everything that is searched.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.leaks.search import Secret

__all__ = ["CHILDREN", "VAULT", "read_vault", "watch", "watch_keystreams"]

VAULT = "SOTTO_LEAKS_VAULT"  # environment variable: where to note
CHILD_KEY, STREAM_KEY = "keys of noise, coin and share streams", "keystreams' AES keys"
DRAWN, VECTOR = "seeds of masks and noise", "clients' un-noised vectors"
# Put into a file named sitecustomize.py on the path of processes that a life starts.
CHILDREN = """
import importlib.abc, importlib.util, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "secagg.randomness" or "SOTTO_LEAKS_VAULT" not in os.environ:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            from bench.leaks.watch import watch_keystreams
            watch_keystreams(module.Keystream)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Watch())
"""


def watch() -> None:
    """Note keys and clients' vectors in this process."""
    import fl_core.engines.cohort_work as cohort_work
    from secagg.randomness import Keystream

    watch_keystreams(Keystream)
    contributions = cohort_work.cohort_contributions

    def noted(*arguments: Any, **named: Any) -> Any:
        found = contributions(*arguments, **named)
        for row in found.totals[:4]:
            _note_vector(row)
        return found

    cohort_work.cohort_contributions = noted


def watch_keystreams(kind: Any) -> None:
    """Note every stream's keys, and every 32 bytes that are drawn at once."""
    made, derived, take = kind.__init__, kind._derive, kind.take

    def noted_init(self: Any, key: bytes, secure: bool) -> None:
        _note(CHILD_KEY, key.hex())
        made(self, key, secure)

    def noted_derive(self: Any, purpose: bytes) -> bytes:
        found: bytes = derived(self, purpose)
        _note(STREAM_KEY if purpose == b"stream" else CHILD_KEY, found.hex())
        return found

    def noted_take(self: Any, count: int) -> bytes:
        found: bytes = take(self, count)
        if count == 32:
            _note(DRAWN, found.hex())
        return found

    kind.__init__, kind._derive, kind.take = noted_init, noted_derive, noted_take


def read_vault(path: Path) -> list[Secret]:
    """All that was noted, each once."""
    lines = sorted(set(path.read_text().splitlines())) if path.exists() else []
    notes = [json.loads(line) for line in lines]
    return [Secret(n["kind"], bytes.fromhex(n["hex"]) if "hex" in n else tuple(n["vector"])) for n in notes]


def _note_vector(vector: NDArray[np.int64]) -> None:
    """Up to four places of three neighbours each that chance would not repeat."""
    steps = np.abs(vector.astype(np.float64))
    told = 0
    for start in range(0, len(vector) - 2, 3):
        if steps[start : start + 3].prod() > 2**30:
            _write({"kind": VECTOR, "vector": vector[start : start + 3].tolist()})
            told += 1
        if told == 4:
            return


def _note(kind: str, value: str) -> None:
    _write({"kind": kind, "hex": value})


def _write(note: dict[str, Any]) -> None:
    handle = os.open(os.environ[VAULT], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, json.dumps(note).encode() + b"\n")
    finally:
        os.close(handle)
