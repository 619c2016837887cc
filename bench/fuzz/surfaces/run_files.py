"""What a run leaves in its folder and reads again: checkpoints, metrics, summaries, and reports' `runs.json`.

A checkpoint carries a digest of itself: what is accepted must be what was written.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from bench.fuzz.archives import tensors_changed
from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Surface
from bench.fuzz.values import changed, encoded, json_text, odd_json
from bench.places import RESULTS
from bench.small_run import small_config, small_task
from experiments.arm_table import arm_table, as_markdown
from experiments.arms import Run, arms_of, chosen_runs
from experiments.html_report import write_page
from experiments.report import write_report
from experiments.stored_runs import load_runs
from fl_core.adapters import flat_adapter
from fl_core.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.optimizers import OptimizerState
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.tracking import read_metrics
from secagg.aggregator import PlaintextAggregator

__all__ = ["checkpoint_file", "metrics_file", "resumed_checkpoint", "runs_file", "summary_file"]


def _checkpoints(folder: Path, length: int) -> list[Checkpoint]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for rounds in (1, 2):
        theta = torch.randn(length, generator=generator)
        moments = torch.rand(length, generator=generator, dtype=torch.float64)
        state = OptimizerState(moments, moments + 1, rounds)
        found.append(Checkpoint(rounds, theta, state, rounds + 1, "ab" * 32, 0.5 if rounds == 1 else None))
        save_checkpoint(folder, found[-1])
    return found


def _equal(one: Checkpoint, two: Checkpoint) -> bool:
    tensors = [(c.theta, c.optimizer.first, c.optimizer.second) for c in (one, two)]
    same = all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(*tensors, strict=True))
    facts = [(c.round, c.optimizer.steps, c.ledger_lines, c.ledger_head, c.clip_norm) for c in (one, two)]
    return same and facts[0] == facts[1]


def checkpoint_file(folder: Path) -> Surface:
    """The newest checkpoint of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    written = _checkpoints(folder, 20)
    files = sorted(folder.glob("round-*.safetensors"))
    good, path = [file.read_bytes() for file in files], files[-1]

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, lambda r: tensors_changed(r, r.choice(good)))

    def read(case: bytes) -> Checkpoint | None:
        path.write_bytes(case)
        return latest_checkpoint(folder)

    def wrong(case: bytes, found: Checkpoint | None) -> str | None:
        if b'\\"digest\\"' not in case:
            return None  # as an earlier Sotto wrote it
        right = found is not None and any(_equal(found, one) for one in written)
        return None if right else "a checkpoint was read that no run wrote"

    return Surface("checkpoints of runs", draw, read, wrong, places=(path.name,), tries=20_000)


def resumed_checkpoint(folder: Path) -> Surface:
    """A checkpoint of somebody else's run, or of other shapes, under a digest that fits: what resuming makes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = small_config()
    task = small_task(config)
    length = len(flat_adapter(task.model))
    plan = plan_privacy(config, length, task.records)
    good = _checkpoints(folder, length)[0]
    for file in folder.glob("round-*"):
        file.unlink()
    header = ledger_header(config, plan, "fuzz")
    run = RunFolder(folder / "run")
    ledger = Ledger.create(run.ledger_path, header)

    def tensor(rng: random.Random) -> torch.Tensor:
        shape = rng.choice([(length,), (length,), (length + 1,), (0,), (1, length), (), (length, 1)])
        kind = rng.choice([torch.float32, torch.float32, torch.float64, torch.float16, torch.int64, torch.bool])
        value = torch.ones(shape, dtype=kind)
        if kind.is_floating_point and value.numel() and rng.random() < 0.3:
            value.view(-1)[0] = rng.choice([float("nan"), float("inf"), -1.0, 1e30])
        return value

    def draw(rng: random.Random) -> Checkpoint:
        theta, first, second = good.theta, good.optimizer.first, good.optimizer.second
        which = rng.randrange(8)
        theta = tensor(rng) if which & 1 else theta
        first, second = (tensor(rng) if which & 2 else first), (tensor(rng) if which & 4 else second)
        odd = [0, 1, 5, -1, 2**31, 2**70, 10**30]
        state = OptimizerState(first, second, rng.choice(odd))
        norm = rng.choice([None, 0.5, 0.0, -1.0, 1e308, float("nan"), float("inf"), 5e-324])
        return Checkpoint(rng.choice(odd), theta, state, rng.choice(odd), rng.choice(["ab" * 32, "", "é" * 9]), norm)

    def read(case: Checkpoint) -> Checkpoint:
        for file in run.checkpoints.glob("round-*"):
            file.unlink()
        save_checkpoint(run.checkpoints, case)
        found = latest_checkpoint(run.checkpoints)
        assert found is not None
        RoundLoop(
            task, config, plan, run, ledger, PlaintextAggregator(), found, LocalClients(task, config, plan)
        ).tracker.close()
        return found

    def wrong(case: Checkpoint, found: Checkpoint) -> str | None:
        if not _equal(case, found):
            return "a checkpoint was read that is another than was written"
        moments = (found.optimizer.first, found.optimizer.second)
        fits = found.theta.dtype == torch.float32 and all(m.dtype == torch.float64 for m in moments)
        finite = all(bool(torch.isfinite(value).all()) for value in (found.theta, *moments))
        return None if fits and finite and found.round >= 0 and found.optimizer.steps >= 0 else "a run goes on from it"

    return Surface("checkpoints of other runs, resumed", draw, read, wrong, tries=2_000)


def metrics_file(folder: Path) -> Surface:
    """`metrics.jsonl`: rows are objects with a round."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.jsonl"
    rows = [{"round": n, "accuracy": n / 10, "seconds": 0.5, "message": "x", "bytes_per_client": 9} for n in range(5)]
    good = ["".join(json.dumps(row) + "\n" for row in rows[:count]).encode() for count in (1, 3, 5)]

    def odd_row(rng: random.Random) -> bytes:
        lines = [json.dumps(row) for row in rows]
        lines[rng.randrange(len(lines))] = json_text(changed(rng, rng.choice(rows)))
        return encoded("\n".join(lines) + rng.choice(["\n", "\n", ""]))

    def read(case: bytes) -> list[dict[str, Any]]:
        path.write_bytes(case)
        return read_metrics(path)

    def wrong(case: bytes, found: Any) -> str | None:
        right = all(isinstance(row, dict) and type(row.get("round")) is int for row in found)
        return None if right else "a row was read that is of no round"

    return Surface("metrics of runs", lambda rng: mixed(rng, good, odd_row), read, wrong,
                   places=(path.name,))  # fmt: skip


def _summary() -> dict[str, Any]:
    """One that a run wrote."""
    recorded = RESULTS / "next_word_units" / "runs.json"
    found: dict[str, Any] = json.loads(recorded.read_text())[0]["summary"]
    return found


def _reported(runs: list[Run], out: Path, drawn: bool) -> list[str]:
    """All that `sotto report` does with runs, figures only if asked for: they take half a second."""
    out.parent.mkdir(exist_ok=True)
    arms = arms_of(chosen_runs(runs, []))
    arm_table(arms)
    text = as_markdown(arms)
    json.dumps(runs, allow_nan=False)
    write_page(runs, {}, out.with_suffix(".html"))
    if drawn:
        write_report(runs, {}, out)
    return text.splitlines()


_DRAWN = 0.004


def summary_file(folder: Path) -> Surface:
    """A run folder's `summary.json`, as `sotto report` reads it."""
    home = folder / "run@1"
    home.mkdir(parents=True, exist_ok=True)
    path = home / "summary.json"
    document = _summary()
    good = [json.dumps(document, indent=1).encode()]
    (home / "metrics.jsonl").write_text("".join(json.dumps({"round": n, "accuracy": n / 9}) + "\n" for n in range(4)))

    def draw(rng: random.Random) -> tuple[bytes, bool]:
        text = mixed(rng, good, odd_json(document))
        return text, rng.random() < _DRAWN

    def read(case: tuple[bytes, bool]) -> list[str]:
        path.write_bytes(case[0])
        return _reported(load_runs([home]), folder / "report", case[1])

    return Surface("summaries of runs, reported", draw, read, places=(home.name,))


def runs_file(folder: Path) -> Surface:
    """A report's `runs.json`, as `sotto report` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runs.json"
    curve = [[n, n / 9] for n in range(3)]
    document = [{"name": name, "summary": _summary(), "accuracy": curve} for name in ("a@1", "a@2", "b")]
    good = [json.dumps(document, indent=1).encode()]

    def draw(rng: random.Random) -> tuple[bytes, bool]:
        text = mixed(rng, good, odd_json(document))
        return text, rng.random() < _DRAWN

    def read(case: tuple[bytes, bool]) -> list[str]:
        path.write_bytes(case[0])
        return _reported(load_runs([path]), folder / "report", case[1])

    return Surface("runs.json of reports", draw, read, places=(path.name, "two runs are called"))
