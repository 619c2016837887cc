"""No dataclass of the product shows a key, a seed, a private vector or a record when it is printed.

Every one of them is found by walking the modules, filled with values that can be recognised, and printed. What may be
shown is listed here with the reason.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.randomness import Keystream

KEY = bytes(range(200, 232))
NUMBER = 918273645
OPENED = "opened sum, which is public"
TABLE = "a table that depends on sigma alone"
# Fields that hold bytes, numbers or anything by a suspicious name, and are no secret.
PUBLIC = {
    ("RoundSum", "total"): OPENED,
    ("_Set", "digest"): "of clients whose sum was opened",
    ("_Set", "ids"): "clients whose sum was opened",
    ("CohortCard", "key"): "public key",
    ("ClientCard", "key"): "public key",
    ("Peer", "sealing_key"): "public key",
    ("Enrolment", "cohort"): "public key",
    ("Enrolment", "roster"): "public keys",
    ("Checkpoint", "theta"): "the adapter that all clients receive",
    ("RoundRequest", "theta"): "the adapter that all clients receive",
    ("OptimizerState", "first"): "made of opened sums",
    ("OptimizerState", "second"): "made of opened sums",
    **{("DiscreteGaussianTable", name): TABLE for name in ("high", "low")},
    **{("GaussianTable", name): TABLE for name in ("starts", "quick", "sure")},
    **{("SkellamTable", name): TABLE for name in ("starts", "sure", "logs")},
    **{("Vocabulary", name): "of a public tokenizer" for name in ("starts_word", "continues_word", "ends_sentence")},
    **{("Corpus", name): "public text" for name in ("train", "held_out")},
    **{(name, "seed"): "public" for name in ("DataConfig", "PretrainConfig", "LoraSettings", "PretrainRecipe")},
    ("TrainingSettings", "seed"): "public",
    ("PrivacyConfig", "insecure_seed"): "test mode: the run says that it is not private",
    ("CatalogueEntry", "files"): "names of public files",
}
_WORDS = ("seed", "key", "secret", "vector", "noise_shares", "losses", "norms", "totals", "payload")
_TYPES = ("bytes", "Tensor", "NDArray", "Keystream", "PrivateKey")
_SHOWN = (KEY.hex(), repr(KEY)[2:-1], str(NUMBER), ", ".join(map(str, KEY[:4])))


@functools.cache
def classes():
    """Every dataclass of the product that can be imported here, by name."""
    found = {}
    for top in ("kernels", "secagg", "fl_core", "experiments"):
        package = importlib.import_module(top)
        for module in pkgutil.walk_packages(package.__path__, f"{top}."):
            if "flower" in module.name or module.name.endswith("__main__"):
                continue  # optional: `test_flowers_dataclasses_hold_paths_and_no_keys`
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.name:
                    found[value.__name__] = value
    return found


def secret_fields(kind):
    """Names of its fields that hold, or may hold, a secret."""
    found = []
    for each in dataclasses.fields(kind):
        written = str(each.type)
        typed = any(word in written for word in _TYPES) and "Callable" not in written and "Popen" not in written
        named = any(word in each.name for word in _WORDS) and "Path" not in written and written not in ("str", "float")
        if typed or named or each.name in ("facts", "files"):
            found.append(each.name)
    return found


def planted(written):
    """A value of about this type that can be recognised."""
    if "Keystream" in written:
        return Keystream.from_key(KEY)
    if "PrivateKey" in written:
        return X25519PrivateKey.from_private_bytes(KEY)
    if "Tensor" in written:
        return torch.full((4,), NUMBER)
    if "NDArray" in written:
        array = np.full(4, NUMBER)
        return (array,) if written.startswith("tuple") else array
    if "Mapping" in written or "dict" in written:
        return {"x": KEY}
    if "bytes" in written:
        return (KEY,) if written.startswith("tuple") else KEY
    return NUMBER


def printed(kind):
    """What an object of this class shows when all its secret fields are planted, in each way of printing."""
    made = object.__new__(kind)
    secret = [name for name in secret_fields(kind) if (kind.__name__, name) not in PUBLIC]
    for each in dataclasses.fields(kind):
        object.__setattr__(made, each.name, planted(str(each.type)) if each.name in secret else None)
    return [repr(made), str(made), f"{made}", repr([made]), repr({"a": made})]


@pytest.mark.parametrize(
    "name",
    ["ClientMessage", "ClipSum", "ClippedSum", "Contributions", "Frame", "GaussianNoise", "ImageData", "NewKeys",
     "OpenedPart", "PartyKeys", "RoundRequest", "Scalars", "SealedMessage", "Sequences", "Shares"],
)  # fmt: skip
def test_what_holds_secrets_is_known_to(name):
    found = [field for field in secret_fields(classes()[name]) if (name, field) not in PUBLIC]
    assert found, f"{name} is expected to have a field that this test fills"


def test_no_dataclass_shows_a_secret_when_it_is_printed():
    shown = {}
    for name, kind in classes().items():
        if any((name, field) not in PUBLIC for field in secret_fields(kind)):
            text = "\n".join(_printed_or_nothing(kind))
            shown[name] = [value for value in _SHOWN if value in text]
    assert len(shown) >= 17
    assert {name: found for name, found in shown.items() if found} == {}


def _printed_or_nothing(kind):
    try:
        return printed(kind)
    except (TypeError, AttributeError) as error:  # a repr of its own, which needs whole values
        if kind.__repr__.__module__ != kind.__module__:
            raise
        return [str(error)]


def test_what_may_be_shown_is_there_and_would_be_filled():
    for name, field in PUBLIC:
        assert field in secret_fields(classes()[name]), f"{name}.{field} is listed in vain"


def test_a_key_that_a_dataclass_shows_is_found():
    @dataclasses.dataclass(frozen=True)
    class Careless:
        key: bytes

    @dataclasses.dataclass(frozen=True)
    class CarelessVector:
        totals: np.ndarray

    assert KEY.hex() not in "".join(printed(Careless))
    assert any(value in "\n".join(printed(Careless)) for value in _SHOWN)
    assert str(NUMBER) in "\n".join(printed(CarelessVector))


def test_flowers_dataclasses_hold_paths_and_no_keys():
    root = Path(__file__).resolve().parent.parent / "fl_core" / "engines" / "flower"
    for path in sorted(root.glob("*.py")):
        body = path.read_text().partition("@dataclass")[2].partition("\nclass ")[2].partition('"""\n\n')[2]
        fields = [line for line in body.partition("\n\n")[0].splitlines() if ": " in line]
        public = ("    theta: Tensor",)  # the adapter that all clients receive
        assert not [line for line in fields if any(word in line for word in _TYPES) and line not in public], path


def test_no_module_makes_tracebacks_that_show_local_variables():
    root = Path(__file__).resolve().parent.parent
    for top in ("kernels", "secagg", "fl_core", "experiments"):
        for path in (root / top).rglob("*.py"):
            text = path.read_text()
            for word in ("capture_locals", "cgitb", "rich.traceback", "print_locals", "show_locals", "faulthandler"):
                assert word not in text, f"{path} uses {word}: local variables hold keys and private vectors"
    assert "pretty_exceptions_enable=False" in (root / "experiments" / "cli.py").read_text()
