"""The benchmark of rounds does equal work in Sotto, times nothing that is not equal, and says what it left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.rounds.__main__ as rounds
from bench.rounds import prepare
from bench.rounds.__main__ import main
from bench.rounds.arithmetic import matrix_rate, operations_of_step
from bench.rounds.cells import Cell, grid
from bench.rounds.equal_work import TOLERANCE, check_equal_work, difference
from bench.rounds.figure import draw
from bench.rounds.page import rounds_page, seconds_of
from bench.rounds.report import Task, task_of
from bench.rounds.runner import CellRunner
from bench.rounds.sotto import run
from bench.rounds.work import load_work, reference_adapter
from experiments.datasets.image_data import ImageData
from experiments.language.bases import load_base
from fl_core.adapters import attach_adapter
from fl_core.config import LoraSettings
from fl_core.frozen_prefix import frozen_prefix

LORA = {"c_attn", "c_proj", "c_fc"}


@pytest.fixture(autouse=True)
def _threads():
    """The benchmark takes every core for itself; the tests after it would wait for each other's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def image_work(folder: Path, monkeypatch: pytest.MonkeyPatch, stored: bool = False) -> Path:
    """A work of images made by the benchmark's own preparation, from noise instead of MNIST."""
    draw = np.random.default_rng(3)
    x, y = draw.random((60, 1, 28, 28), dtype=np.float32), draw.integers(0, 10, 60)
    data = ImageData("noise", x, y, x[:10], y[:10], 10, "embedded")
    monkeypatch.setattr(prepare, "load_images", lambda name: data)
    monkeypatch.setattr(prepare, "MOST_CLIENTS", 10)
    folder.mkdir(exist_ok=True)
    prepare.prepare(folder, "mnist", "stored" if stored else "raw", 4, 5, lambda text: None)
    return folder


def word_work(folder: Path, stored: bool) -> Path:
    """A work of random tokens with padding, on the base that ships, as the preparation writes it."""
    folder.mkdir()
    draw = np.random.default_rng(4)
    x = draw.integers(1, 8192, (3, 4, 9))
    y = x.copy()
    y[:, 1:, 6:] = -100
    x[y == -100] = 0
    base, _ = load_base("mini")
    model = attach_adapter(base, LoraSettings(rank=2, alpha=4.0, targets=sorted(LORA), blocks=[-2, -1]))
    blocks, inputs = [2, 3], x
    if stored:
        prefix = frozen_prefix(model)
        inputs = prefix.states({"input_ids": torch.from_numpy(x).flatten(0, 1)}).unflatten(0, (3, 4)).numpy()
        prepare._tail(prefix.skipped).save_pretrained(str(folder / "base"))
        blocks = [0, 1]
    else:
        (folder / "base").symlink_to(prepare.shipped_base().resolve())
    np.save(folder / "x.npy", inputs)
    np.save(folder / "y.npy", y)
    adapter = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    np.save(folder / "adapter.npy", adapter.numpy())
    said = {"kind": "next_word", "inputs": "stored" if stored else "raw", "rank": 2, "alpha": 4.0}
    said |= {"targets": sorted(LORA), "blocks": blocks, "learning_rate": 0.1}
    (folder / "work.json").write_text(json.dumps(said))
    return folder


def found_adapter(folder: Path, save: Path, clients: int = 3, **more: object) -> np.ndarray:
    how = {"privacy": "none", "parties": 0, "clip_norm": 100.0, "noise_multiplier": 1.0, "threads": 1, "processes": 1}
    run(Task(folder=folder, clients=clients, rounds=2, save=save, **(how | more)))
    return np.load(save)


@pytest.mark.parametrize("stored", [False, True])
def test_sottos_rounds_on_images_are_those_of_plain_pytorch(tmp_path, monkeypatch, capsys, stored):
    folder = image_work(tmp_path / "work", monkeypatch, stored)
    found = found_adapter(folder, tmp_path / "adapter.npy")
    expected = reference_adapter(load_work(folder), 3, 2).numpy()
    assert difference(found, expected) <= TOLERANCE < 1e-3 < difference(load_work(folder).adapter().numpy(), expected)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line.get("round") for line in lines] == [1, 2, None]
    assert lines[-1]["done"]["parameters"] == len(expected)


@pytest.mark.parametrize("stored", [False, True])
def test_sottos_rounds_on_words_are_those_of_plain_pytorch(tmp_path, stored):
    folder = word_work(tmp_path / "work", stored)
    found = found_adapter(folder, tmp_path / "adapter.npy")
    expected = reference_adapter(load_work(folder), 3, 2).numpy()
    assert difference(found, expected) <= TOLERANCE < 1e-3 < difference(load_work(folder).adapter().numpy(), expected)


def test_stored_inputs_are_the_same_work_as_raw_ones(tmp_path):
    raw, stored = (load_work(word_work(tmp_path / str(stored), stored)) for stored in (False, True))
    assert difference(reference_adapter(raw, 2, 2).numpy(), reference_adapter(stored, 2, 2).numpy()) <= TOLERANCE


def test_private_rounds_have_the_noise_that_was_asked_for(tmp_path, monkeypatch):
    folder = image_work(tmp_path / "work", monkeypatch)
    start = load_work(folder).adapter().numpy()
    for privacy in ("central", "distributed"):
        noise = found_adapter(folder, tmp_path / "adapter.npy", 5, privacy=privacy, clip_norm=1e-3) - start
        # Two rounds of five clients: noise of deviation 0.001 / 5 in each, and updates of norm 0.001 at the most.
        assert np.std(noise) == pytest.approx(1e-3 / 5 * 2**0.5, rel=0.1)


def test_adapters_that_cannot_be_compared_differ_infinitely():
    one = np.ones(3)
    assert difference(one + 1e-3, one) == pytest.approx(1e-3)
    for other in (None, np.ones(4), np.array([1.0, np.nan, 1.0])):
        assert difference(other, one) == float("inf")


def test_a_framework_that_does_other_work_is_not_timed(tmp_path, monkeypatch):
    def run_wrongly(command, variables, place, timeout_s):
        task = task_of(command[-1])
        assert task.save is not None, "it was timed"
        np.save(task.save, reference_adapter(load_work(task.folder), task.clients, task.rounds).numpy() + 2e-5)
        return {"seconds": [1.0, 1.0], "peak_mib": 1.0, "done": {}}

    folder = image_work(tmp_path / "work", monkeypatch)
    monkeypatch.setattr("bench.rounds.runner.run_cell", run_wrongly)
    cell = Cell("mnist", 5, "pfl", rank=4)
    runner = CellRunner(tmp_path, {"pfl": "python"}, 2, 10.0, {"mnist": 5}, {("mnist", "raw", 4): folder})
    assert not check_equal_work(runner, cell)["equal"]
    part = {"environment": [], "rows": [], "equal_work": [], "clip_norm": 1, "noise_multiplier": 1, "tolerance": 1e-5}
    assert rounds._add(runner, cell, part, 0)
    assert part["rows"][0]["runs"][0]["not_run"] == "its local work differs from plain PyTorch's by 2.0e-05"
    assert "NO: not measured" in rounds_page(part)


def test_the_command_goes_on_where_it_stopped_and_draws_what_it_has(tmp_path, monkeypatch):
    timed = []

    def measured(runner, cell):
        timed.append(cell.name)
        if cell.framework == "flower":
            return {"seconds": [], "peak_mib": 5.0, "load": 0.1, "not_run": "more than 240 s"}
        return {"seconds": [0.5, 1.5], "first": 9.0, "peak_mib": 300.0, "load": 0.1, "parameters": 50 * cell.rank}

    monkeypatch.setattr(rounds, "measure", measured)
    monkeypatch.setattr(rounds, "check_equal_work", lambda runner, cell: {
        "work": cell.work, "inputs": cell.inputs, "framework": cell.framework, "difference": 0.0, "equal": True,
        "checks": [{"clients": 1, "rounds": 2, "difference": 0.0, "moved": 0.1}],
    })  # fmt: skip
    monkeypatch.setattr(rounds, "_count_arithmetic", lambda runner, cells, part: part["arithmetic"].extend(
        [] if part["arithmetic"] else
        [{"work": "mnist", "inputs": "raw", "rank": 16, "operations": 2 * 10**8, "rate": 4e11}]
    ))  # fmt: skip
    command = ["--out", str(tmp_path), "--scratch", str(tmp_path), "--pfl-python", "p", "--flower-python", "f"]
    assert main([*command, "--cells", "mnist-1000-*-none"]) == 0
    assert len(timed) == 5
    assert main(command) == 0
    assert len(timed) == len(set(timed)) == len(grid())
    assert main([*command, "--repeat", "2", "--cells", "mnist-100-pfl-none"]) == 0
    assert timed.count("mnist-100-pfl-none") == 2
    part = json.loads((tmp_path / "rounds.json").read_text())
    row = next(row for row in part["rows"] if row["name"] == "mnist-1000-sotto-workers-distributed-3parties")
    assert seconds_of(row) == 1.0
    page = (tmp_path / "rounds.md").read_text()
    guarantee = "server and all but one of 3 parties"
    assert f"| 1,000 | Sotto, a worker a core | distributed | {guarantee} | 1 | 60 | 1e+03 | 300 | 2 |" in page
    assert "more than 240 s" in page
    assert "| 10,000 | mnist | stored | distributed | server and all but one of 3 parties | 3 | 0.2 | 1 | 1.5 |" in page
    # 10,000 clients a second are 500 % of the 2,000 that these invented numbers allow.
    assert "| mnist | raw | 16 | 0.2 | 2e+03 | 500 % |  | 500 % |" in page
    assert {file.name for file in tmp_path.iterdir()} == {"rounds.json", "rounds.md", "rounds.png"}


def test_the_operations_of_a_step_are_those_of_its_products(tmp_path, monkeypatch):
    work = load_work(image_work(tmp_path, monkeypatch, stored=True))
    (_, images, components), classes, rank = work.records()[0].shape, 10, work.rank
    forward = components * classes + components * rank + rank * classes
    # Backwards: the gradients of A and B, and what comes to A from B.
    backward = components * rank + rank * classes + rank * classes
    assert operations_of_step(work) == 2 * images * (forward + backward)
    assert matrix_rate() > 1e8


def test_a_figure_is_drawn_of_a_single_cell(tmp_path):
    row = {**Cell("mnist", 20, "sotto").fields, "guarantee": "none"}
    row["runs"] = [{"seconds": [0.25], "peak_mib": 300.0, "load": 0.0, "parameters": 6560}]
    draw({"rows": [row]}, tmp_path / "rounds.png")
    assert (tmp_path / "rounds.png").stat().st_size > 10_000


def test_frameworks_without_an_interpreter_are_left_out(capsys, tmp_path):
    assert main(["--out", str(tmp_path), "--list"]) == 0
    names = capsys.readouterr().out.split()
    assert names
    assert all("-sotto-" in name for name in names)
