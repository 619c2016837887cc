"""A run of thousands of rounds, watched from outside: `sotto run`, and under SMPC its three parties.

Takes a configuration and how long it may take; gives samples of every process, the files' growth, and the verdict. The
run is the product's own command with real checkpoints, ledger, metrics and TensorBoard. Rounds are counted by the lines
of its metrics. Nothing is asked of it but, now and then, how many objects it holds (`bench.soak.probe`).
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.forks import die_with_parent
from bench.processes import children_of
from bench.soak.lines import GrowingFile, without_numbers
from bench.soak.probe import ask_objects, site_folder
from bench.soak.samples import Sample, sample_of
from bench.soak.verdict import Limits, assess
from fl_core.privacy.ledger import read_ledger
from fl_core.tracking import read_metrics

__all__ = ["SOTTO", "Watch", "goes_on", "run_rounds", "watch"]

SOTTO = (sys.executable, "-m", "experiments.cli")
_CONFIG = """
data: {{name: digits, classes: [5, 6, 7, 8, 9]}}
model: {{channels: [4, 8], pretrain: {{data: digits, classes: [0, 1, 2, 3, 4], epochs: 1, batch_size: 32}}}}
lora: {{rank: 2, alpha: 4, targets: [fc]}}
federation: {{clients: 10, rounds: {rounds}, n_min: 6, sample_rate: 0.05}}
simulation: {{dropout: 0.1}}
privacy: {{noise_multiplier: 1.0, delta: 1.0e-5}}
aggregation: {{backend: {backend}, parties: 3}}
engine: {{threads: 1, eval_every: 20, checkpoint_every: 5}}
"""
_OBJECTS_EVERY = 8  # samples
_PARTS = ("ledger.jsonl", "metrics.jsonl", "tensorboard", "checkpoints")


@dataclass
class Watch:
    """What was seen of one run.

    Attributes:
        samples: of the run and its parties, in order of time.
        files: rounds done, and bytes of each part of the run folder then and the number of files.
        seconds: that it took.
        code: its exit code; None if it was cut off.
    """

    samples: list[Sample] = field(default_factory=list)
    files: list[dict[str, int]] = field(default_factory=list)
    seconds: float = 0.0
    code: int | None = None


def run_rounds(
    kind: str, rounds: int, scratch: Path, limit_s: float, say: Callable[[str], None], limits: Limits | None = None
) -> tuple[dict[str, Any], Watch]:
    """A row of the result, and what it rests on.

    Args:
        kind: "rounds", aggregation in the clear, or "rounds-smpc", three parties.
        rounds: of the run.
        scratch: folder for it.
        limit_s: seconds after which it is interrupted as with Ctrl-C; rounds that were done count.
        say: told how it goes.
        limits: what counts as flat.
    """
    backend = "smpc" if kind == "rounds-smpc" else "plaintext"
    config, out, probe = scratch / "run.yaml", scratch / "run", scratch / "probe"
    config.write_text(_CONFIG.format(rounds=rounds, backend=backend))
    environment = {**os.environ, **site_folder(probe), "OMP_NUM_THREADS": "1"}
    command = [*SOTTO, "run", str(config), "--out", str(out), "--quiet"]
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, preexec_fn=die_with_parent)
        try:
            found = watch(process.pid, process.poll, out, rounds, probe, limit_s, say)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    found.code = process.returncode
    row = summary_of(found, out, rounds, limits or Limits())
    if found.code != 0 and found.seconds < limit_s:
        row["problems"].append(f"the run ended with exit code {found.code}: {(scratch / 'log').read_text()[-300:]}")
    return row, found


def watch(
    pid: int,
    ended: Callable[[], int | None],
    out: Path,
    rounds: int,
    probe: Path | None,
    limit_s: float,
    say: Callable[[str], None],
    every_s: float = 0.25,
) -> Watch:
    """Look at a run and its children until it ends or the time is over.

    Args:
        pid: the run's process.
        ended: gives its exit code once it has ended.
        out: the run folder.
        rounds: that it will make.
        probe: folder of `site_folder` with which it was started; None: objects are not counted.
        limit_s: longest watch.
        say: told how it goes.
        every_s: seconds between two looks.
    """
    found, began, metrics, lines, shown = Watch(), time.monotonic(), GrowingFile(out / "metrics.jsonl"), 0, 0

    def done_by_now() -> int:
        nonlocal lines
        lines += len(metrics.new_lines())
        return max(0, lines - 1)  # the first line is the untuned model's

    while ended() is None and time.monotonic() - began < limit_s:
        done, looks = done_by_now(), len(found.files)
        if done >= rounds:
            break  # what comes then is the end of the run: figures, an adapter
        if done > 0:
            asks = probe is not None and looks % _OBJECTS_EVERY == 0
            for who, one in _family(pid):
                objects = ask_objects(one, probe) if asks and probe is not None else None
                # Rounds go on while a process counts its objects.
                sample = sample_of(who, one, time.monotonic() - began, done_by_now(), objects)
                if sample is not None:
                    found.samples.append(sample)
            found.files.append({"round": done_by_now(), **_sizes(out)})
        if done >= shown + rounds // 10:
            shown = done
            say(f"{done} of {rounds} rounds, {time.monotonic() - began:.0f} s")
        time.sleep(every_s)
    found.seconds = round(time.monotonic() - began, 1)
    while ended() is None and time.monotonic() - began < limit_s:
        time.sleep(every_s)
    return found


def goes_on(counts: Sequence[int]) -> bool:
    """Whether there are more files late than ever early; a draft, or what the end of a run writes, is no growth."""
    half = 1 + len(counts) // 2
    late = counts[half:]
    return bool(late) and statistics.median(late) > max(counts[:half])


def summary_of(found: Watch, out: Path, rounds: int, limits: Limits) -> dict[str, Any]:
    """The row of one watch."""
    done = max((files["round"] for files in found.files), default=0)
    row: dict[str, Any] = {"rounds_asked": rounds, "rounds_watched": done, "seconds": found.seconds, "problems": []}
    if not found.samples:
        return row | {"problems": ["the run ended before anything could be seen of it"]}
    row["processes"] = {}
    for who in dict.fromkeys(sample.who for sample in found.samples):
        figures = assess([sample for sample in found.samples if sample.who == who], limits)
        row["problems"] += figures.pop("problems")
        row["processes"][who] = figures
    row["files"] = _growth(found.files)
    counts = [files["files"] for files in found.files]
    if goes_on(counts):
        row["problems"].append(f"the run folder went on to grow by files, to {counts[-1]}")
    if (out / "ledger.jsonl").exists():
        openings = read_ledger(out / "ledger.jsonl").openings
        rows = [one for one in read_metrics(out / "metrics.jsonl") if one["round"]]  # row 0 is the untuned model's
        row["openings"] = len(openings)
        row["refused"] = sum("message" in one for one in rows)
        row["sentences"] = sorted({without_numbers(one["message"]) for one in rows if "message" in one})
        if len(openings) + row["refused"] < len(rows):
            row["problems"].append(f"{len(rows)} rounds, but {len(openings)} openings in the ledger")
    return row


def _family(pid: int) -> list[tuple[str, int]]:
    """The run and its parties; nobody if it has gone."""
    try:
        return [("run", pid), *((f"party {rank}", child) for rank, child in enumerate(children_of(pid)))]
    except OSError:
        return []


def _sizes(out: Path) -> dict[str, int]:
    sizes, files = dict.fromkeys((*_PARTS, "all"), 0), 0
    for folder, _, names in os.walk(out):
        for name in names:
            path = Path(folder) / name
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue  # a draft that has taken its place
            top = path.relative_to(out).parts[0]
            files += not name.startswith(".")
            sizes["all"] += size
            if top in sizes:
                sizes[top] += size
    return {**sizes, "files": files}


def _growth(files: Sequence[dict[str, int]]) -> dict[str, Any]:
    """Bytes a round of each part, over the second half, and how many files there are."""
    first, last = files[len(files) // 2], files[-1]
    apart = max(1, last["round"] - first["round"])
    grown = {name: round((last[name] - first[name]) / apart, 1) for name in (*_PARTS, "all")}
    return {"bytes_a_round": grown, "files": last["files"], "bytes": last["all"]}
