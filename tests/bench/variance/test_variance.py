"""The opened sums of zeros have the variance that the ledger promises, and a fault in the noise shows in it.

Some of `bench.variance`'s cells, through whole engines and real parties; `bench/results/reliability/variance.md` has
all of them. Noise is that of runs, unseeded: one right cell in a million is found wrong.
"""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest

import bench.variance.__main__ as variance
from bench.noise.privacy_grid import BACKENDS, BY, MECHANISMS, SCHEMES, TRUSTS, UNITS, refusal
from bench.noise.three_parties import ThreeParties
from bench.variance.faults import FAULTS, NoiseFault
from bench.variance.grid import (
    CLIENTS,
    ENGINES,
    VANISHED,
    Combination,
    covered_by,
    every_combination,
    measured_combinations,
    possible_combinations,
    suite_combinations,
)
from bench.variance.rounds import HONEST, Opened, Plant, open_zeros
from bench.variance.verdict import row_of

ROOT = Path(__file__).parents[3]
RECORDED = ROOT / "bench/results/reliability/variance.json"
PLAIN = Combination("skellam", "distributed", "client", "plaintext", "clients", "oversize", "local")
# One of each kind, at each engine of this process.
SHOWN = {
    "half of the variance": 0,
    "shares are sized for all clients that were expected": 0,
    "one client's share is missing": 1,
    "a component of noise too many is taken away": 0,
    "a component of noise too few is taken away": 0,
    "one of three aggregators adds nothing": 1,
}


def of_kind(name):
    return [fault for fault in FAULTS if fault.name == name]


def possible_by_hand(c):
    """What the documents say is possible, not asking the configuration."""
    if c.trust != "distributed":
        noise = c.by == "clients" and c.scheme == "oversize"
    else:
        noise = c.by == "clients" or c.backend == "smpc"
        noise &= c.scheme == "oversize" or (c.by != "aggregators" and c.mechanism != "gaussian")
    flower = c.engine not in ("flower", "ray") or (c.backend == "smpc" and c.trust != "central")
    return noise and flower


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_possible_is_refused_with_a_sentence_and_all_else_is_in_the_grid(engine):
    every = list(every_combination(engine))
    axes = (MECHANISMS, TRUSTS, UNITS, BACKENDS, BY, SCHEMES)
    assert len(set(every)) == len(every) == math.prod(map(len, axes)) == 216
    for combination in every:
        refused = refusal(combination.config())
        assert (refused is None) == possible_by_hand(combination), combination
        assert refused is None or "; allowed: " in refused
    possible = possible_combinations(engine)
    assert possible == [combination for combination in every if possible_by_hand(combination)]
    assert len(possible) == (32 if engine in ("flower", "ray") else 60)
    measured = set(measured_combinations(engine))
    assert measured <= set(possible)
    assert engine in ("workers", "ray") or measured == set(possible)
    values = {value for combination in possible for value in vars(combination).items()}
    assert {value for combination in measured for value in vars(combination).items()} == values


def test_every_test_that_the_grid_names_exists_and_every_cell_has_one():
    named = {name for engine in ENGINES for cell in possible_combinations(engine) for name in covered_by(cell)}
    for path, _, name in (test.partition("::") for test in named):
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, name
    for engine in ENGINES:
        for cell in possible_combinations(engine):
            assert covered_by(cell) or cell in measured_combinations(engine), cell


@pytest.mark.skipif(not RECORDED.exists(), reason="a checkout without recorded results")
def test_the_recorded_run_has_every_cell_and_every_fault():
    recorded = json.loads(RECORDED.read_text())
    cells = [f"{c}, {gone} of {CLIENTS} gone" for e in ENGINES for c in measured_combinations(e) for gone in VANISHED]
    assert sorted(row["name"] for row in recorded["rows"]) == sorted(cells)
    faults = [fault.name for fault in FAULTS for _ in fault.left]
    assert sorted(row["fault"] for row in recorded["planted"]) == sorted(faults)
    assert all(row["holds"] for row in recorded["rows"])
    assert all(row["caught"] for row in recorded["planted"])


@pytest.mark.parametrize("combination", [*suite_combinations("local"), *suite_combinations("flower")], ids=str)
def test_the_variance_of_a_sum_of_zeros_is_what_the_ledger_says(combination, parties):
    rows = variance.check_combination(combination, parties)
    assert [CLIENTS - row["survivors"] for row in rows] == list(VANISHED)
    for row in rows:
        assert row["promise_holds"], row
        assert row["low"] < 1 < row["high"], row


@pytest.mark.slow
@pytest.mark.parametrize("combination", [c for c in measured_combinations("workers") if c.scheme == "xnoise"], ids=str)
def test_the_variance_of_workers_sums_is_what_the_ledger_says(combination, parties):
    assert all(row["holds"] for row in variance.check_combination(combination, parties))


@pytest.mark.slow
def test_a_fault_in_a_worker_shows_too(parties):
    (fault,) = (fault for fault in FAULTS if fault.combination.engine == "workers")
    assert [row["caught"] for row in variance.check_fault(fault, parties)] == [True, True]


@pytest.mark.parametrize("fault", [of_kind(name)[index] for name, index in SHOWN.items()], ids=str)
def test_a_planted_fault_shows_as_what_it_is(fault, parties):
    for row in variance.check_fault(fault, parties):
        assert row["caught"], row
        assert not row["low"] < 1 < row["high"]


def test_a_fault_at_flowers_nodes_shows_too(parties):
    fault = next(fault for fault in FAULTS if fault.combination.engine == "flower")
    assert [row["caught"] for row in variance.check_fault(fault, parties)] == [True, True]


def test_every_kind_of_fault_is_shown_and_the_parties_that_keep_nothing_secret_are_right_themselves():
    assert set(SHOWN) == {fault.name for fault in FAULTS}
    fault = of_kind("one of three aggregators adds nothing")[1]
    honest = NoiseFault("none", fault.combination, Plant(aggregator=ThreeParties), {0: 1.0, 1: 1.0})
    for row in variance.check_fault(honest, None):
        assert row["low"] < 1 < row["high"]
        assert not row["caught"]


def draws(std, multiplier=1.5, survivors=10, promised=None):
    total = np.rint(np.random.default_rng(0).normal(0, std, 20_000)).astype(np.int64)
    return Opened(total, survivors, multiplier, promised or std)


CENTRAL = Combination("gaussian", "central", "client", "plaintext", "clients", "oversize", "local")


@pytest.mark.parametrize(
    ("opened", "holds"),
    [
        (draws(1000.0), True),
        (draws(1000.0, promised=1060.0), False),
        (draws(1000.0, promised=940.0), False),
        (draws(1000.0, multiplier=1.4999), False),  # the ledger promises less than was asked for
        (draws(1000.0, multiplier=1.502), False),  # or claims more than there is reason for
    ],
)
def test_a_verdict_is_about_the_noise_and_about_the_promise(opened, holds):
    row = row_of(CENTRAL, opened)
    assert row["holds"] == holds
    assert row["variance_realised"] == pytest.approx(float((opened.total.astype(float) ** 2).mean()))
    assert row["variance_promised"] == opened.promised**2


def test_other_drop_outs_than_were_to_be_are_an_error_and_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.variance.rounds.run_name", lambda: "any run")
    with pytest.raises(RuntimeError, match=r"sums of \[.*\] clients"):
        open_zeros(PLAIN, tmp_path / "run", None)


@pytest.fixture
def one_cell(monkeypatch):
    """The command with one cell and one fault; `real parties` are not started, as neither needs them."""
    monkeypatch.setattr(variance, "measured_combinations", lambda engine: [PLAIN] if engine == "local" else [])
    monkeypatch.setattr(variance, "FAULTS", (of_kind("half of the variance")[0],))


def test_the_command_writes_its_table_and_says_what_it_could_not_run(tmp_path, monkeypatch, capsys, one_cell):
    monkeypatch.setattr(variance, "why_no_ray", lambda: "Flower is not installed (Sotto's extra `flower`)")
    arguments = ["--out", str(tmp_path), "--coordinates", "20000", "--engines", "local", "ray"]
    assert variance.main(arguments) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"variance.json", "variance.md"}
    report = json.loads((tmp_path / "variance.json").read_text())
    assert report["command"] == "python -m bench.variance --out DIR --coordinates 20000 --engines local ray"
    assert [row["dropout"] for row in report["rows"]] == [0.0, 0.3]
    assert report["engines"]["local"]["refused"] == 156
    assert [row["caught"] for row in report["planted"]] == [True, True]
    page = (tmp_path / "variance.md").read_text()
    assert "**2 of 2 cells hold**" in page
    assert "**Caught: 2 of 2.**" in page
    assert "Not run: Flower is not installed" in page
    assert "1 of 2: skellam distributed client plaintext" in capsys.readouterr().err


def test_a_fault_that_does_not_show_is_exit_code_1(tmp_path, monkeypatch, one_cell):
    fault = of_kind("half of the variance")[0]
    monkeypatch.setattr(variance, "FAULTS", (NoiseFault("none", fault.combination, HONEST, fault.left),))
    assert variance.main(["--out", str(tmp_path), "--coordinates", "20000", "--engines", "local"]) == 1
    assert "**Caught: 0 of 2.**" in (tmp_path / "variance.md").read_text()


def test_a_cell_that_does_not_hold_is_exit_code_1(tmp_path, monkeypatch, one_cell):
    monkeypatch.setattr(variance, "HONEST", of_kind("half of the variance")[0].plant)
    assert variance.main(["--out", str(tmp_path), "--coordinates", "20000", "--engines", "local"]) == 1
    assert "**0 of 2 cells hold**" in (tmp_path / "variance.md").read_text()


@pytest.mark.parametrize("coordinates", ["0", "15000"])
def test_coordinates_that_no_adapter_has_are_a_sentence_and_exit_code_2(tmp_path, capsys, coordinates):
    with pytest.raises(SystemExit) as ended:
        variance.main(["--out", str(tmp_path), "--coordinates", coordinates])
    assert ended.value.code == 2
    assert f"--coordinates is {coordinates}; allowed: a multiple of 10000" in capsys.readouterr().err
