"""Runs of one budget never spend more than it allows together, however they take turns and whatever becomes of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_core.budget_folder import Terms, create_budget, registers, spending
from fl_core.privacy.joint import add_up
from fl_core.privacy.ledger import Ledger, LedgerError, read_ledger
from fl_core.shared_budget import BudgetExhausted
from fl_core.task import Protected
from secagg.errors import SottoError
from tests.fl_core.budget_runs import DELTA, IMAGES, Run
from tests.fl_core.tiny import run_tiny, tiny_config


@pytest.fixture
def budget(tmp_path):
    create_budget(tmp_path / "budget", Terms(4.0, DELTA))
    return tmp_path / "budget"


def together(*runs):
    (found,) = add_up([read_ledger(run.path) for run in runs], "rdp")
    return found.views.aggregators.epsilon


def test_a_second_run_gets_what_the_first_has_left(tmp_path, budget):
    with Run(tmp_path / "first", budget) as first:
        for _ in range(3):
            first.open()
    with Run(tmp_path / "second", budget) as second:
        says = second.open_all()
        before = second.path.read_bytes()
        with pytest.raises(BudgetExhausted):
            second.open()
        assert second.path.read_bytes() == before, "the ledger is as it was"
        assert len(second.ledger.openings) == second.opened, "and nothing was opened"
    assert f"one more opening would take this run and {tmp_path / 'first'} to epsilon" in says
    assert "aggregators view, and 4 is allowed" in says
    assert second.opened >= 1
    one, two = (read_ledger(run.path) for run in (first, second))
    more = replace(two, openings=(*two.openings, two.openings[-1]))
    (beyond,) = add_up([one, more], "rdp")
    assert together(first, second) <= 4.0 < beyond.views.aggregators.epsilon
    assert spending(budget).epsilon == pytest.approx(together(first, second), rel=1e-9)


def alone(tmp_path):
    """How many sums one run opens that has a budget of the same size to itself."""
    create_budget(tmp_path / "whole", Terms(4.0, DELTA))
    with Run(tmp_path / "one", tmp_path / "whole") as one:
        assert "one more opening would take this run to epsilon" in one.open_all()
    return one.opened


def test_two_runs_at_once_share_what_one_would_have_had(tmp_path, budget):
    with Run(tmp_path / "a", budget) as a, Run(tmp_path / "b", budget) as b:
        for run in (a, b, b):
            run.open()
        a.open_all()
        assert f"this run and {a.path.parent} to" in b.open_all()
    assert (a.opened, b.opened) == (alone(tmp_path) - 2, 2)


def test_claims_of_many_threads_never_exceed_the_budget(tmp_path, budget):
    """The lock is of an open file, so it holds between threads as it does between processes."""
    runs = [Run(tmp_path / f"run{i}", budget) for i in range(4)]
    refused = []
    threads = [threading.Thread(target=lambda run=run: refused.append(run.open_all())) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        run.ledger.close()
    assert len(refused) == 4
    assert together(*runs) <= 4.0
    assert sum(run.opened for run in runs) == alone(tmp_path)


def test_a_process_that_dies_in_the_middle_of_a_claim_blocks_nobody_and_its_opening_counts(tmp_path, budget):
    code = (
        "import os, pathlib\n"
        "from tests.fl_core.budget_runs import Run\n"
        f"run = Run(pathlib.Path({str(tmp_path / 'dead')!r}), {str(budget)!r})\n"
        "run.open()\n"
        "with run.budget.claim(1, 8):\n"
        "    run.ledger.append(run.ledger.openings[-1])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    (found,) = (contents for _, contents, _ in spending(budget).runs)
    assert len(found.openings) == 2
    with Run(tmp_path / "next", budget) as other:
        other.open_all()
        assert other.opened == alone(tmp_path) - 2
        with Run(tmp_path / "dead", budget) as again, pytest.raises(BudgetExhausted):
            again.open()


def test_a_resumed_run_is_not_counted_twice(tmp_path, budget):
    opened = 0
    for _ in range(3):
        with Run(tmp_path / "run", budget) as run:
            run.open()
            opened += 1
    with Run(tmp_path / "run", budget) as run:
        run.open_all()
    assert opened + run.opened == alone(tmp_path)
    assert [entry.run for entry, _, _ in spending(budget).runs] == ["run"]


def test_a_run_that_could_open_nothing_is_refused_at_once_and_not_registered(tmp_path, budget):
    with Run(tmp_path / "first", budget) as first:
        first.open_all()
    with pytest.raises(BudgetExhausted, match="one more opening would take this run and"):
        Run(tmp_path / "second", budget)
    assert [entry.run for entry, _, _ in spending(budget).runs] == ["first"]


@pytest.mark.parametrize("damage", ["removed", "cut back", "changed", "replaced", "torn"])
def test_without_a_registered_ledger_nothing_is_opened(tmp_path, budget, damage):
    with Run(tmp_path / "first", budget) as first:
        first.open()
        first.open()
    second = Run(tmp_path / "second", budget)
    second.open()
    good, openings = first.path.read_bytes(), first.ledger.openings
    lines = good.splitlines(keepends=True)
    first.path.unlink()
    if damage == "replaced":
        with Ledger.create(first.path, replace(first.ledger.header, run="other")) as other:
            for entry in openings:
                other.append(entry)
    elif damage != "removed":
        first.path.write_bytes(
            {
                "cut back": b"".join(lines[:2]),
                "changed": good.replace(b'"survivors":8', b'"survivors":7', 1),
                "torn": good[:-3],
            }[damage]
        )
    before = second.path.read_bytes()
    with second:
        for attempt in (second.open, lambda: Run(tmp_path / "third", budget), lambda: spending(budget)):
            with pytest.raises(LedgerError, match="counts run first, which cannot be counted now") as refused:
                attempt()
            assert "\n" not in str(refused.value)
        assert second.path.read_bytes() == before
        assert second.opened == 1
        first.path.write_bytes(good)
        second.open()


@pytest.mark.parametrize(
    ("overrides", "protected", "says"),
    [
        ([], Protected("digits", "an image"), "data is 'mnist'; this run's is 'digits'"),
        ([], Protected("mnist", "half an image"), "contribution is 'an image'; this run's is 'half an image'"),
        (["privacy.unit=client"], IMAGES, "unit is 'example'; this run's is 'client'"),
    ],
)
def test_runs_that_protect_something_else_need_another_budget(tmp_path, budget, overrides, protected, says):
    with Run(tmp_path / "first", budget):
        pass
    with pytest.raises(SottoError, match="use another budget") as refused:
        Run(tmp_path / "second", budget, *overrides, protected=protected)
    assert says in str(refused.value)
    assert len(spending(budget).runs) == 1


def test_a_run_that_does_not_say_what_it_is_about_counts_with_everything(tmp_path, budget):
    with Run(tmp_path / "first", budget, protected=Protected()) as first:
        first.open()
    with Run(tmp_path / "second", budget) as second:
        second.open_all()
    assert together(first, second) <= 4.0
    with pytest.raises(SottoError, match="use another budget"):
        Run(tmp_path / "third", budget, protected=Protected("digits", "an image"))


def test_what_a_run_does_not_protect_from_no_budget_of_that_view_has_room_for(tmp_path, budget):
    with pytest.raises(BudgetExhausted, match="to epsilon inf in the aggregators view"):
        Run(tmp_path / "central", budget, "privacy.trust=central")
    create_budget(tmp_path / "released", Terms(4.0, DELTA, "release"))
    with Run(tmp_path / "allowed", tmp_path / "released", "privacy.trust=central") as run:
        run.open()


def test_the_budgets_delta_counts_whatever_the_runs_say(tmp_path):
    """Divergences have no delta; a run cannot buy room with a larger one of its own."""
    opened = []
    for name, delta in (("strict", 1e-6), ("loose", 0.1)):
        create_budget(tmp_path / name, Terms(4.0, DELTA))
        with Run(tmp_path / f"run-{name}", tmp_path / name, f"privacy.delta={delta}") as run:
            run.open_all()
            opened.append(run.opened)
    assert opened[0] == opened[1] > 0


def test_a_runs_own_epsilon_still_binds(tmp_path, budget):
    overrides = ("privacy.noise_multiplier=null", "privacy.epsilon=1", "federation.rounds=2")
    with Run(tmp_path / "run", budget, *overrides) as run:
        assert "privacy.epsilon is 1" in run.open_all()
    assert together(run) <= 1.0 + 1e-9


def test_a_moved_run_goes_on_and_a_copied_one_does_not(tmp_path, budget):
    with Run(tmp_path / "run", budget) as run:
        run.open()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "ledger.jsonl").write_bytes(run.path.read_bytes())
    with pytest.raises(SottoError, match="is another; go on with the first"):
        Run(tmp_path / "copy", budget)
    run.path.unlink()
    with Run(tmp_path / "copy", budget) as moved:
        moved.open()
    assert registers(budget, tmp_path / "copy" / "ledger.jsonl")
    assert not registers(budget, tmp_path / "run" / "ledger.jsonl")


def test_a_run_restored_from_before_its_last_openings_is_refused(tmp_path, budget):
    with Run(tmp_path / "run", budget) as run:
        run.open()
        early = run.path.read_bytes()
        run.open()
    run.path.write_bytes(early)
    with pytest.raises(LedgerError, match="is missing; there once were 3 lines"):
        Run(tmp_path / "run", budget)


def test_a_budget_that_has_forgotten_a_run_is_refused_by_it(tmp_path, budget):
    with Run(tmp_path / "run", budget) as run:
        run.open()
    (budget / "budget.json").unlink()
    create_budget(budget, Terms(4.0, DELTA))
    with pytest.raises(SottoError, match="openings that the budget .* does not know of"):
        Run(tmp_path / "run", budget)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(st.tuples(st.integers(0, 2), st.integers(4, 8)), min_size=1, max_size=14), allowed=st.floats(1, 8)
)
def test_whatever_the_turns_the_sum_is_that_of_one_run_with_all_openings(tmp_path_factory, turns, allowed):
    """Against one run alone that opens the same sums in the same order."""
    path = tmp_path_factory.mktemp("turns")
    for name in ("shared", "whole"):
        create_budget(path / name, Terms(allowed, DELTA))

    def can(run, survivors):
        try:
            run.open(survivors)
        except BudgetExhausted:
            return False
        return True

    try:
        runs = [Run(path / f"run{i}", path / "shared") for i in range(3)]
        one = Run(path / "one", path / "whole")
    except BudgetExhausted:
        return  # too small for any opening: the same for both
    for which, survivors in turns:
        assert can(runs[which], survivors) == can(one, survivors)
    assert spending(path / "shared").epsilon == pytest.approx(spending(path / "whole").epsilon, rel=1e-9)
    for run in (*runs, one):
        run.ledger.close()


def test_whole_runs_stop_where_their_budget_ends_and_say_so(tmp_path):
    """The round loop asks before it opens."""
    budget = tmp_path / "budget"
    create_budget(budget, Terms(3.0, DELTA, "release"))
    config = tiny_config("privacy.insecure_seed=null", "privacy.noise_multiplier=2", f"privacy.budget={budget}")
    ended, _ = run_tiny(tmp_path / "first", config, run="first")
    assert "budget" not in ended
    left = spending(budget).epsilon
    ended, engine = run_tiny(tmp_path / "second", config, run="second")
    assert ended.startswith(f"stopped by the budget {budget}: one more opening would take this run and")
    opened = len(read_ledger(tmp_path / "second" / "ledger.jsonl").openings)
    assert engine.state.round == opened
    assert 0 < opened < 6
    assert left < spending(budget).epsilon <= 3.0
    ended, engine = run_tiny(tmp_path / "second", config, run="second", resume=True)
    assert ended.startswith("stopped by the budget")
    assert engine.state.round == opened
