"""What must hold after every life of a run, and at its end, whatever killed it.

Takes a run folder and the log of what its lives were seen to open; gives sentences, one for each thing that does not
hold. Of the product only its readers of files are used: what was opened comes from the log, not from the ledger.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from fl_core.config import RunConfig
from fl_core.config_file import first_difference, load_config, to_dict
from fl_core.privacy.ledger import LedgerError, Opening, read_ledger
from fl_core.tracking import read_metrics
from secagg.errors import SottoError

__all__ = ["Ending", "Outcome", "after_life", "at_end", "journal_faults", "read_log", "same_noise"]

TORN = "is torn: it does not end with a newline"


@dataclass(frozen=True)
class Outcome:
    """How a finished run came out.

    Attributes:
        violations: what does not hold.
        equal: whether it equals the uninterrupted run bit for bit.
        repeated: rounds that the ledger counts more than once, drawn again with fresh noise by design.
    """

    violations: list[str]
    equal: bool
    repeated: int


@dataclass(frozen=True)
class Ending:
    """What a finished run left: everything that has to be equal.

    Attributes:
        adapter: the bytes of its weights.
        checkpoint: tensors as bytes, and facts, without the ledger's hash, which names the run.
        rows: metrics without seconds.
        openings: the ledger's.
    """

    adapter: bytes
    checkpoint: dict[str, Any]
    rows: list[dict[str, Any]]
    openings: tuple[Opening, ...]

    @classmethod
    def of(cls, folder: Path) -> Ending:
        """Read a run folder; raises what its readers raise."""
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(folder / "metrics.jsonl")]
        newest = sorted((folder / "checkpoints").glob("round-*.safetensors"))[-1]
        checkpoint = _checkpoint(newest)
        for name in ("ledger_head", "digest"):  # of the run's name, and of that
            checkpoint.pop(name)
        adapter = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
        return cls(adapter, checkpoint, rows, read_ledger(folder / "ledger.jsonl").openings)


def read_log(log: Path, kind: str) -> list[dict[str, Any]]:
    """Lines of one kind that lives wrote: `opened` or `ended`."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def after_life(folder: Path, log: Path, config: RunConfig, before: bytes, torn: bool) -> tuple[list[str], bytes, bool]:
    """Check a folder whose process is gone.

    Args:
        folder: the run folder.
        log: of all its lives so far.
        config: the run's.
        before: the ledger as it was after the life before.
        torn: whether a last line may be cut short: only a cut power or a full disk does that.

    Returns:
        Violations, the whole lines of the ledger now, and whether a line of it is torn.
    """
    path = folder / "ledger.jsonl"
    ledger = path.read_bytes() if path.exists() else b""
    found = []
    begun = (folder / "config.yaml").exists()
    if begun and not ledger.startswith(before):
        found.append("the ledger lost or changed lines that it had")
    counted: Counter[int] = Counter()
    if begun or read_log(log, "opened"):
        try:
            counted.update(opening.round for opening in read_ledger(path).openings)
        except LedgerError as error:
            if not (torn and TORN in str(error)):
                found.append(f"the ledger cannot be read: {error}")
            counted.update(_whole_lines(ledger))
    opened = Counter(line["round"] for line in read_log(log, "opened"))
    found += [
        f"round {number} was opened {times} times and the ledger counts {counted[number]}"
        for number, times in opened.items()
        if counted[number] < times
    ]
    if counted and not begun:
        found.append("the ledger counts openings and there is no configuration to resume with")
    whole = ledger[: ledger.rfind(b"\n") + 1]
    return found + same_noise(log) + _damaged(folder, config, torn), whole, begun and whole != ledger


def same_noise(log: Path) -> list[str]:
    """Sums that were opened with noise, or below a stream, of which another was opened before."""
    found = []
    for what in ("noise", "stream"):
        first: dict[str, dict[str, Any]] = {}
        for line in read_log(log, "opened"):
            earlier = first.setdefault(line[what], line) if line[what] else line
            if earlier is not line:
                data = "equal data" if line["total"] == earlier["total"] else "different data"
                found.append(
                    f"round {line['round']} attempt {line['attempt']} was opened with the {what} of round "
                    f"{earlier['round']} attempt {earlier['attempt']} on {data}"
                )
    return found


def at_end(folder: Path, log: Path, reference: Ending) -> Outcome:
    """Check a run that ended, beside the uninterrupted one."""
    litter = [p for p in folder.rglob("*") if p.name.startswith(".") and p.name != ".lock"]
    litter += [p for p in folder.rglob("*.tmp") if p not in litter]
    found = [f"{path.relative_to(folder)} was left behind" for path in litter]
    for name in ("summary.json", "config.yaml", "figures/accuracy.png", "adapter/adapter_config.json"):
        if not (folder / name).exists():
            found.append(f"{name} is missing after the run's end")
    try:
        ending = Ending.of(folder)
        summary = json.loads((folder / "summary.json").read_text())
    except (SottoError, OSError, ValueError, IndexError, KeyError) as error:
        return Outcome([*found, f"the ended run cannot be read: {error}"], False, 0)
    openings = Counter(opening.round for opening in ending.openings)
    rounds = [row["round"] for row in ending.rows]
    if rounds != [row["round"] for row in reference.rows]:
        found.append(f"metrics are of rounds {rounds}")
    if sorted(openings) != [row["round"] for row in reference.rows][1:]:
        found.append(f"the ledger is of rounds {sorted(openings)}")
    if summary["privacy"]["openings"] != len(ending.openings):
        found.append(f"the summary counts {summary['privacy']['openings']} openings, the ledger {len(ending.openings)}")
    # A round that a failed party or a crash made the run draw again differs by design, and all rounds after it.
    last = {line["round"]: line["attempt"] for line in read_log(log, "opened")}
    again = {number for number in openings if openings[number] > 1 or last.get(number)}
    until = min(again, default=len(reference.rows))
    if ending.rows[:until] != reference.rows[:until]:
        found.append(f"metrics before round {until} differ from the uninterrupted run's")
    equal = ending == reference
    if not again and not equal:
        found.append(f"every round was opened once, and {_unequal(ending, reference)} differs")
    return Outcome(found, equal, sum(times - 1 for times in openings.values()))


def journal_faults(journal: Path, log: Path) -> list[str]:
    """What a party's journal has twice, or lacks of the sums that were opened."""
    lines = [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
    names = Counter((line["run"], line["round"], line["attempt"]) for line in lines if line["kind"] == "opened")
    opened = {(line["run"], line["round"], line["attempt"]) for line in read_log(log, "opened")}
    who = journal.parent.name
    twice = [f"{who} opened round {name[1]} attempt {name[2]} {n} times" for name, n in names.items() if n > 1]
    return twice + [f"{who} has no entry of round {name[1]} attempt {name[2]}" for name in opened - names.keys()]


def _unequal(one: Ending, other: Ending) -> str:
    return ", ".join(name for name in vars(one) if getattr(one, name) != getattr(other, name))


def _whole_lines(ledger: bytes) -> list[int]:
    """Rounds of the openings in the whole lines of a ledger."""
    return [
        record["body"]["round"] for record in map(json.loads, ledger.split(b"\n")[:-1]) if record["kind"] == "opening"
    ]


def _checkpoint(path: Path) -> dict[str, Any]:
    with safe_open(str(path), framework="pt") as handle:
        tensors = {name: handle.get_tensor(name).numpy().tobytes() for name in handle.keys()}  # noqa: SIM118
        return {**tensors, **json.loads(handle.metadata()["sotto"])}


def _damaged(folder: Path, config: RunConfig, torn: bool) -> list[str]:
    """Files that are not what their name says."""
    found = []

    def read(path: Path, reader: Callable[[Path], object]) -> None:
        try:
            reader(path)
        except Exception as error:
            found.append(f"{path.relative_to(folder)} is damaged: {type(error).__name__}: {str(error)[:120]}")

    def same(path: Path) -> None:
        different = first_difference(to_dict(load_config(path, [])), to_dict(config))
        if different:
            raise ValueError(f"{different[0]} is not the run's")

    def metrics(path: Path) -> None:
        read_metrics(path)
        if not torn and not path.read_bytes().endswith(b"\n") and path.stat().st_size:
            raise ValueError("a torn last line")

    for path in (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if any(parent.name.startswith(".") for parent in path.relative_to(folder).parents):
            continue  # a draft
        if path.suffix == ".safetensors":
            read(path, _checkpoint if path.parent.name == "checkpoints" else _tensors)
        elif path.suffix == ".json":
            read(path, lambda p: json.loads(p.read_text()))
        elif path.suffix == ".png":
            read(path, _png)
        elif path.name == "config.yaml":
            read(path, same)
        elif path.name == "metrics.jsonl":
            read(path, metrics)
    with suppress(OSError):
        found += [f"{p.name} is an unknown draft" for p in folder.glob(".*") if p.name not in _DRAFTS]
    return found


_DRAFTS = (".lock", ".config.yaml.tmp", ".metrics.jsonl.tmp", ".summary.json.tmp", ".adapter.tmp")


def _tensors(path: Path) -> None:
    with safe_open(str(path), framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118
            handle.get_tensor(name)


def _png(path: Path) -> None:
    content = path.read_bytes()
    if not (content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")):
        raise ValueError("not a whole PNG")
