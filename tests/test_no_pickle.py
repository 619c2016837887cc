"""Nothing that Sotto reads from a file or a peer can run code: no product module unpickles anything.

The one pickle is that of Python's own `multiprocessing`, which hands a new worker process its arguments.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for top in ("kernels", "secagg", "fl_core", "experiments") for path in (ROOT / top).rglob("*.py"))
FORBIDDEN = {"pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
# Functions by their last name that may unpickle, and the one argument that keeps them from it.
LOADERS = {
    ("torch", "load"): ("weights_only", True, False),
    ("np", "load"): ("allow_pickle", False, True),
    ("numpy", "load"): ("allow_pickle", False, True),
    ("AutoModelForCausalLM", "from_pretrained"): ("use_safetensors", True, False),
}
RUNS_CODE = {"eval", "exec", "compile"}


def faults(source: str) -> list[str]:
    """What in a module's text may run code that came with data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or "" for _ in "1" if (node.module or "").split(".")[0] in FORBIDDEN]
            found += [f"from {node.module} import load" for alias in node.names if _loads(node.module, alias.name)]
        elif isinstance(node, ast.Call):
            found += _call(node)
    return found


def _loads(module: str | None, name: str) -> bool:
    """A loader under its bare name, which could not be told from others any more."""
    return name == "load" and (module or "") in {"torch", "numpy"}


def _call(node: ast.Call) -> list[str]:
    if isinstance(node.func, ast.Name) and node.func.id in RUNS_CODE:
        return [node.func.id]
    named = {word.arg: word.value for word in node.keywords}
    trusted = named.get("trust_remote_code")
    if trusted is not None and not _is(trusted, False):
        return ["trust_remote_code"]
    if not (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
        return []
    loader = (node.func.value.id, node.func.attr)
    if loader not in LOADERS:
        return []
    key, needed, may_be_missing = LOADERS[loader]
    if (key not in named and may_be_missing) or _is(named.get(key), needed):
        return []
    return [f"{'.'.join(loader)} without {key}={needed}"]


def _is(value: ast.expr | None, constant: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is constant


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_product_module_unpickles(path):
    assert faults(path.read_text()) == []


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 200
    assert ROOT / "secagg" / "party" / "frames.py" in MODULES


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal as m",
        "import joblib.externals",
        "def f():\n    from dill import loads",
        "from cloudpickle.cloudpickle import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=chosen)",
        "from numpy import load as read",
        "AutoModelForCausalLM.from_pretrained(place)",
        "AutoModelForCausalLM.from_pretrained(place, use_safetensors=False)",
        "AutoTokenizer.from_pretrained(place, trust_remote_code=True)",
        "eval(text)",
    ],
)
def test_each_way_of_unpickling_is_found(source):
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "json.load(file)",
        "AutoModelForCausalLM.from_pretrained(place, use_safetensors=True)",
        "AutoModelForCausalLM.from_config(config)",
    ],
)
def test_harmless_calls_are_none(source):
    assert faults(source) == []
