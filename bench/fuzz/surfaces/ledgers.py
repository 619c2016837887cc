"""What openings are counted by: the ledger, alone or with a head that was kept, the budget's folder, history files.

Without a head a ledger's end may be missing; everything else must show. With a head no opening may be lost. A ledger
whose lines were changed and chained again by somebody who can is read as what it says, and must say something possible.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Surface
from bench.fuzz.values import changed, encoded, json_text, odd_json
from fl_core.budget_folder import Registered, Spending, Terms, create_budget, locked, read_book, spending, write_book
from fl_core.privacy.events import MechanismEvent, parse_history
from fl_core.privacy.joint import rdp_of_ledger
from fl_core.privacy.ledger import Head, Ledger, LedgerContents, LedgerHeader, Opening, read_ledger
from fl_core.privacy.ledger_formats import as_now
from fl_core.privacy.rdp import epsilon_from_rdp

__all__ = ["budget_folder", "history_file", "ledger_chained_again", "ledger_file", "ledger_with_head"]

_HEADER = LedgerHeader(
    run="r1", unit="client", trust="distributed", mechanism="discrete_gaussian", neighbouring="zero_out", delta=1e-5,
    clip_norm=0.5, scale=2.0**20, dimension=100, clients=10, n_min=8, sample_rate=0.5, warnings=("a warning",),
)  # fmt: skip
_ADDED = {
    2: ("noise_by", "noise_dropout", "aggregators", "aggregator_sigma", "components"),
    3: ("data", "contribution"),
}


def _opening(number: int, survivors: int = 10) -> Opening:
    sigma = 2.0**19
    return Opening(number, 0, survivors, "ab" * 32, sigma * survivors**0.5 / 2.0**20, sigma)


def _written(path: Path, header: LedgerHeader, count: int = 6) -> bytes:
    with Ledger.create(path, header) as ledger:
        for number in range(count):
            ledger.append(_opening(number, 10 - number % 3))
    return path.read_bytes()


def _chained(records: list[Any]) -> bytes:
    """Lines with hashes that fit, whatever they say."""
    lines, prev = [], "0" * 64
    for record in records:
        body = {**record, "prev": prev} if isinstance(record, dict) else record
        text = _canonical(body)
        prev = hashlib.sha256(encoded(text)).hexdigest()
        lines.append(_canonical({**body, "hash": prev} if isinstance(body, dict) else body))
    return encoded("".join(line + "\n" for line in lines))


def _canonical(value: Any) -> str:
    return json_text(_sorted(value)).replace(", ", ",").replace(": ", ":")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _records(content: bytes) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(line).items() if k != "hash"} for line in content.splitlines()]


def _in_format(content: bytes, version: int) -> bytes:
    """The ledger as that format's Sotto wrote it."""
    records = _records(content)
    for later in range(version + 1, 4):
        for key in _ADDED[later]:
            del records[0]["body"][key]
    records[0]["body"]["version"] = version
    return _chained(records)


def _ledgers(folder: Path) -> list[bytes]:
    """Of all formats, and of two runs."""
    folder.mkdir(parents=True, exist_ok=True)
    first = _written(folder / "first.jsonl", _HEADER)
    second = _written(folder / "second.jsonl", replace(_HEADER, run="r2", mechanism="skellam", sample_rate=1.0), 3)
    found = [first, second, _in_format(first, 1), _in_format(first, 2)]
    for content in found:
        (folder / "check.jsonl").write_bytes(content)
        read_ledger(folder / "check.jsonl")
    assert as_now(_records(found[2])[0]["body"])["version"] == 3
    return found


def _lines_moved(rng: random.Random, ledgers: list[bytes]) -> bytes:
    """Whole lines lost, twice, in another order, or of another ledger."""
    lines = rng.choice(ledgers).splitlines(keepends=True)
    how = rng.randrange(4)
    if how == 0:
        del lines[rng.randrange(len(lines))]
    elif how == 1:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    elif how == 2:
        rng.shuffle(lines)
    else:
        lines[rng.randrange(len(lines))] = rng.choice(rng.choice(ledgers).splitlines(keepends=True))
    return b"".join(lines)


def _value_changed(rng: random.Random, ledgers: list[bytes]) -> bytes:
    """One line says something else, and its hashes are as they were, or fit the line alone."""
    lines = rng.choice(ledgers).splitlines()
    at = rng.randrange(len(lines))
    record = changed(rng, json.loads(lines[at]))
    if isinstance(record, dict) and rng.random() < 0.5:
        without = {key: value for key, value in record.items() if key != "hash"}
        record["hash"] = hashlib.sha256(encoded(_canonical(without))).hexdigest()
    lines[at] = encoded(_canonical(record))
    return b"\n".join(lines) + b"\n"


def ledger_file(folder: Path) -> Surface:
    """A ledger and nothing else: only a whole one, or the beginning of one, may be read."""
    ledgers, path = _ledgers(folder), folder / "ledger.jsonl"

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, ledgers, lambda r: _lines_moved(r, ledgers), lambda r: _value_changed(r, ledgers))

    def read(case: bytes) -> LedgerContents:
        path.write_bytes(case)
        return read_ledger(path)

    def wrong(case: bytes, found: LedgerContents) -> str | None:
        if any(whole.startswith(case) for whole in ledgers):
            return None
        # The last line names what is in it; one that was changed and hashed again is a new end of the chain.
        kept = case[: case.rstrip(b"\n").rfind(b"\n") + 1]
        if kept and any(whole.startswith(kept) for whole in ledgers) and _hashed_anew(case):
            return None
        if not kept and _hashed_anew(case):
            return None
        return "a ledger that was changed was read"

    return Surface("ledgers", draw, read, wrong, places=(path.name,))


def _hashed_anew(case: bytes) -> bool:
    """Whether the last line's hash fits it, as of a line that somebody wrote who can hash."""
    record = json.loads(case.rstrip(b"\n").rpartition(b"\n")[2])
    digest = record.pop("hash")
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == digest


def ledger_with_head(folder: Path) -> Surface:
    """A ledger of which a checkpoint kept the head: no opening that it had then may be lost or changed."""
    ledgers, path = _ledgers(folder), folder / "ledger.jsonl"
    path.write_bytes(ledgers[0])
    whole = read_ledger(path)
    hashes = [json.loads(line)["hash"] for line in ledgers[0].splitlines()]

    def draw(rng: random.Random) -> tuple[bytes, int]:
        again = [lambda r: _lines_moved(r, ledgers), lambda r: _value_changed(r, ledgers), _rehashed]
        return mixed(rng, ledgers, *again), rng.randrange(1, len(hashes) + 1)

    def _rehashed(rng: random.Random) -> bytes:
        records = _records(ledgers[0])
        at = rng.randrange(len(records))
        records[at] = changed(rng, records[at])
        return _chained(records)

    def read(case: tuple[bytes, int]) -> LedgerContents:
        path.write_bytes(case[0])
        return read_ledger(path, Head(case[1], hashes[case[1] - 1]))

    def wrong(case: tuple[bytes, int], found: LedgerContents) -> str | None:
        had = whole.openings[: case[1] - 1]
        same = found.header == whole.header and found.openings[: len(had)] == had
        return None if same else "openings that the head stands for were lost or changed"

    return Surface("ledgers with a head that was kept", draw, read, wrong, places=(path.name,))


def ledger_chained_again(folder: Path) -> Surface:
    """Ledgers of odd values under hashes that fit; what is accepted must have an epsilon."""
    ledgers, path = _ledgers(folder), folder / "ledger.jsonl"

    def draw(rng: random.Random) -> bytes:
        records = _records(rng.choice(ledgers))
        at = rng.choice([0, rng.randrange(len(records))])
        records[at] = changed(rng, records[at])
        return _chained(records)

    def read(case: bytes) -> dict[str, float]:
        path.write_bytes(case)
        contents = read_ledger(path)
        rdp = rdp_of_ledger(contents)
        return {view: epsilon_from_rdp(of_view, contents.header.delta) for view, of_view in rdp.items()}

    def wrong(case: bytes, found: dict[str, float]) -> str | None:
        odd = [f"{view} {epsilon}" for view, epsilon in found.items() if math.isnan(epsilon) or epsilon < 0]
        return f"epsilons that are none: {odd}" if odd else None

    return Surface("ledgers of odd values, chained again", draw, read, wrong, tries=5_000)


def budget_folder(folder: Path) -> Surface:
    """A budget that two runs share: its file, or one of their ledgers, changed."""
    ledgers = _ledgers(folder)
    home, paths = folder / "budget", [folder / "one.jsonl", folder / "two.jsonl"]
    create_budget(home, Terms(8.0, 1e-5))
    for path, content in zip(paths, ledgers, strict=False):
        path.write_bytes(content)
    heads = [read_ledger(path).head for path in paths]
    with locked(home):
        book = read_book(home)
        runs = tuple(
            Registered(f"r{i + 1}", path, head) for i, (path, head) in enumerate(zip(paths, heads, strict=True))
        )
        write_book(home, replace(book, runs=runs))
    good = (home / "budget.json").read_bytes()
    whole = spending(home).epsilon

    def draw(rng: random.Random) -> dict[str, bytes]:
        if rng.random() < 0.6:
            document = json.loads(good)
            made = mixed(rng, [good], odd_json(document))
            return {"budget.json": made}
        mine = ledgers[:2]
        moved = mixed(rng, mine, lambda r: _lines_moved(r, mine), lambda r: _value_changed(r, mine))
        return {rng.choice(paths).name: moved}

    def read(case: dict[str, bytes]) -> Spending:
        (home / "budget.json").write_bytes(case.get("budget.json", good))
        for path, content in zip(paths, ledgers, strict=False):
            path.write_bytes(case.get(path.name, content))
        return spending(home)

    def wrong(case: dict[str, bytes], found: Spending) -> str | None:
        if math.isnan(found.epsilon):
            return "an epsilon that is no number"
        if "budget.json" not in case and found.epsilon < whole:
            return f"a budget counts {found.epsilon}, and {whole} was spent"
        return None

    return Surface("folders of shared budgets", draw, read, wrong, places=(folder.name,), tries=5_000)


def history_file(folder: Path) -> Surface:
    """What `sotto epsilon --history` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.json"
    document = [
        {"mechanism": "gaussian", "noise_multiplier": 1.1, "steps": 100, "sample_rate": 0.01},
        {"mechanism": "skellam", "noise_multiplier": 2, "steps": 5, "sampling": "fixed", "cohort": 5, "population": 50,
         "clients": 5, "survivors": 4, "colluders": 1, "dimension": 10, "scale": 1024.0},
    ]  # fmt: skip
    good = [json.dumps(document).encode(), json.dumps(document[:1], indent=1).encode()]

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, odd_json(document))

    def read(case: bytes) -> tuple[MechanismEvent, ...]:
        path.write_bytes(case)
        return parse_history(path)

    def wrong(case: bytes, found: tuple[MechanismEvent, ...]) -> str | None:
        again = folder / "again.json"
        again.write_text(json.dumps([event.to_json() for event in found], allow_nan=False))
        return None if parse_history(again) == found else "a history was read that is another when it is written again"

    return Surface("history files of `sotto epsilon`", draw, read, wrong, places=(path.name,))
