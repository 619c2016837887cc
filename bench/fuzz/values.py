"""Documents with one thing wrong: a value of JSON, YAML or msgpack replaced, removed, renamed, nested or repeated.

Takes plain values; gives plain values, or their text with what no writer of JSON writes: NaN, numbers of five thousand
digits, a hundred thousand brackets, keys given twice, half a surrogate pair.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["ODD", "changed", "encoded", "json_text", "odd_json", "odd_yaml"]


class Raw(str):
    """Text that stands in a document as it is."""


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 10**30, 1.5, -0.0, 1e-320, 1e308, 0.5,
    "", "x", "x" * 400, "x" * 20_000, "../../x", "/etc/passwd", "/dev/zero", "a\nb", "a\x00b", "\x1b[2J",
    "é", "0", "1e9",
    "inf", "nan", "none", "${oc.env:HOME}", "${a}", "${", "???", "%s%n", "ab" * 32, [], [[]], [0, 2**62], [None], ["x"],
    {}, {"a": []}, {"": 1}, {"__class__": "x"},
)  # fmt: skip
_RAW: tuple[Raw, ...] = tuple(
    map(
        Raw,
        (
            "NaN", "Infinity", "-Infinity", "9" * 5000, "-" + "9" * 5000, "1e999", "1" + "0" * 400,
            "0." + "0" * 400 + "1",
            "[" * 500 + "]" * 500, "[" * 100_000 + "]" * 100_000, '{"a":' * 1000 + "1" + "}" * 1000, '{"a":' * 100_000,
            '"\\ud800"', '"\\u0000"', '{"a":1,"a":2}', "'", "\\", "tru", "0x10", "01", "1_000", "-", "",
        ),
    )
)  # fmt: skip


def changed(rng: random.Random, value: Any, raw: bool = True) -> Any:
    """A copy of a document with one to two places changed; with `raw`, also to text that no value stands for."""
    found = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2])):
        places = list(_places(found))
        if not places:
            return _odd(rng, raw)
        holder, key = rng.choice(places)
        _change(rng, holder, key, places, raw)
    return found


def _change(rng: random.Random, holder: Any, key: Any, places: list[tuple[Any, Any]], raw: bool) -> None:
    how = rng.random()
    if how < 0.6:
        holder[key] = _odd(rng, raw)
    elif how < 0.7:
        del holder[key]
    elif how < 0.8:
        other, there = rng.choice(places)
        holder[key] = copy.deepcopy(other[there]) if there in other or isinstance(other, list) else None
    elif how < 0.9 and isinstance(holder, dict):
        odd = rng.choice(["", "x", "a.b", str(key) + "s", str(key).upper(), "x" * 300, "é"])
        holder[odd] = holder.pop(key) if rng.random() < 0.5 else _odd(rng, raw)
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {str(key): holder[key]}


def odd_json(document: Any) -> Callable[[random.Random], bytes]:
    """What makes JSON of a document with one or two things wrong."""
    return lambda rng: encoded(json_text(changed(rng, document)))


def odd_yaml(*documents: Any) -> Callable[[random.Random], bytes]:
    """What makes YAML of one of these documents with one thing wrong."""
    return lambda rng: encoded(_yaml_text(rng, documents[0] if len(documents) == 1 else rng.choice(documents)))


def encoded(text: str) -> bytes:
    """UTF-8, half a surrogate pair as it is."""
    return text.encode("utf-8", "surrogatepass")


def json_text(value: Any) -> str:
    """JSON, with `Raw` as it is."""
    raws: list[str] = []

    def plain(node: Any) -> Any:
        if isinstance(node, Raw):
            raws.append(str(node))
            return f"@raw {len(raws) - 1}@"
        if isinstance(node, dict):
            return {key: plain(item) for key, item in node.items()}
        return [plain(item) for item in node] if isinstance(node, list | tuple) else node

    text = json.dumps(plain(value))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@raw {number}@"', raw)
    return text


_BOMB = "\n".join(
    ["a0: &a0 [" + ", ".join(["x"] * 9) + "]"]
    + [f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 9) + "]" for level in range(1, 10)]
)
_YAML = (
    _BOMB,
    "a: &a [*a]",
    "a: &a {b: *a}",
    "&a [*a]",
    "a: &a 1\nb: *a",
    "<<: {a: 1}",
    "<<: [x]",
    "a: !!python/object/apply:os.system [id]",
    "a: !!binary aGk=",
    "a: !!set {x, y}",
    "!!omap [a: 1]",
    "a: 2020-01-01",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "a: 1\n---\nb: 2",
    "a: 1\na: 2",
    "%YAML 9.9\n---\na: 1",
    "\ta: 1",
    "a: |\n b",
    "- a",
    "5",
    "text",
    "",
    "~",
    "1: 2",
    "true: 1",
    "null: 1",
    "1.5: 1",
    "2020-01-01: 1",
    "\ufeffa: 1",
    "a: \x07",
    "[" * 50_000,
    "{a: " * 50_000,
    "a: " + "9" * 5000,
    "a: 1e999999",
    "a: 0b1111",
    "a: 190:20:30",
    "a: .nan",
    "- " * 50_000,
    "a: *nobody",
)


def _yaml_text(rng: random.Random, value: Any) -> str:
    """YAML of a document with one thing wrong: in a value, or in what only YAML has."""
    how = rng.random()
    if how < 0.75:
        return json_text(changed(rng, value))  # every JSON text is YAML
    attack = rng.choice(_YAML)
    if how < 0.85:
        return attack
    lines = json.dumps(value, indent=1).splitlines() if rng.random() < 0.2 else _block(value)
    at = rng.randrange(len(lines) + 1)
    return "\n".join([*lines[:at], *attack.splitlines(), *lines[at:]]) + "\n"


def _block(value: Any) -> list[str]:
    return [f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]


def _odd(rng: random.Random, raw: bool) -> Any:
    if raw and rng.random() < 0.3:
        return rng.choice(_RAW)
    if rng.random() < 0.1:
        return rng.randrange(-(2**40), 2**40)
    return copy.deepcopy(rng.choice(ODD))


def _places(value: Any) -> Any:
    """All (holder, key) below a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)
