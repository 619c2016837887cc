"""Readers with planted faults, each of which `bench.fuzz` must find; prints what it found as one JSON object.

A process of its own (`python -m tests.bench.fuzz.plants FOLDER`): it forks, and a test session's threads would not
outlive that.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.fuzz.children import try_surface
from bench.fuzz.oracle import Limits, Surface
from bench.fuzz.surfaces import ledgers, messages, run_files
from fl_core import checkpoint
from fl_core.privacy import ledger_lines
from secagg import envelopes
from secagg.errors import SottoError


class Rambling(SottoError):
    """A sentence that is none."""

    def __init__(self, text):
        Exception.__init__(self, text)


TRIES = [str(number) for number in range(12)]
_NUMBERS = {random.Random(seed).getstate(): seed.encode() for seed in TRIES}


def number_of(rng):
    """The number of the try, which its generator was made of."""
    return _NUMBERS[rng.getstate()]


def missing_key(case):
    return {}["x"]


def gibibyte(case):
    return len(bytearray(b"x" * 2**28))


def too_much(case):
    return len(bytearray(2**34))


def hang(case):
    if case in (b"3", b"7"):
        time.sleep(60)
    raise SottoError("file: no")


def crash(case):
    if case in (b"3", b"7"):
        ctypes.string_at(0)
    raise SottoError("file: no")


def leave(case):
    raise SystemExit(3)


def two_lines(case):
    raise Rambling("file: no\nTraceback")


def long(case):
    raise Rambling("f" + "x" * 5000)


def nowhere(case):
    raise SottoError("something is wrong")


def refuse(case):
    raise SottoError("file: no")


READERS = {
    "a key that is missing": missing_key,
    "a gibibyte": gibibyte,
    "more than there is": too_much,
    "a hang": hang,
    "a crash": crash,
    "an exit": leave,
    "two lines": two_lines,
    "a long sentence": long,
    "no place": nowhere,
    "clean": refuse,
}


def signature_not_checked():
    class Anybody:
        def verify(self, *_):
            pass

    envelopes._sender = lambda clients, enrolment: Anybody()
    envelopes._SUITE = type("Open", (), {"decrypt": lambda self, sealed, key, info: bytes(32)})()
    envelopes.AESGCM = lambda key: type("Open", (), {"decrypt_into": lambda *_: None})()


def hash_not_checked():
    honest = ledger_lines.hashlib.sha256

    class Agreeable(str):
        def __ne__(self, other):
            return False

        __hash__ = str.__hash__

    class Digest:
        def __init__(self, data):
            self.data = data

        def hexdigest(self):
            return Agreeable(honest(self.data).hexdigest())

    ledger_lines.hashlib = type("Hashes", (), {"sha256": Digest})


def head_not_checked():
    honest = ledgers.read_ledger
    ledgers.read_ledger = lambda path, expected=None: honest(path)


def digest_not_checked():
    class Equal(str):
        def __ne__(self, other):
            return False

        __hash__ = str.__hash__

    checkpoint._digest = lambda facts, tensors: Equal("")


PLANTS = {
    "a part that is not checked": (signature_not_checked, messages.sealed_parts, 400),
    "a head that is not checked": (head_not_checked, ledgers.ledger_with_head, 300),
    "a ledger that is not checked": (hash_not_checked, ledgers.ledger_file, 600),
    "a digest that is not checked": (digest_not_checked, run_files.checkpoint_file, 300),
}


def main() -> None:
    scratch = Path(sys.argv[1]).resolve()
    found = {}
    for name, read in READERS.items():
        surface = Surface(name, number_of, read, places=("file",), limits=Limits(3.0 if read is hang else 60.0))
        found[name] = asdict(try_surface(surface, TRIES))
    for number, (name, (plant, make, tries)) in enumerate(PLANTS.items()):
        surface = make(scratch / str(number))
        plant()
        found[name] = asdict(try_surface(surface, [f"7/{name}/{n}" for n in range(tries)]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
