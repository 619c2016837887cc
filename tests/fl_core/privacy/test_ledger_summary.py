import json
import math
from dataclasses import replace

import pytest

from fl_core.privacy.events import MechanismEvent
from fl_core.privacy.joint import add_up
from fl_core.privacy.ledger import (
    Ledger,
    LedgerError,
    history,
    read_ledger,
    standing_warnings,
    summarise_ledger,
    summary,
)
from fl_core.privacy.rdp import realised_noise
from fl_core.privacy.views import against_aggregators, local, views
from tests.fl_core.privacy import exact
from tests.fl_core.privacy.ledgers import HEADER, opening


def ledger_of(tmp_path, openings, **changes):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, replace(HEADER, **changes)) as ledger:
        for entry in openings:
            ledger.append(entry)
    return read_ledger(path)


def test_equal_openings_merge_and_retries_count_each_time(tmp_path):
    again = replace(opening(0), attempt=1)
    contents = ledger_of(tmp_path, [opening(0), again, opening(1, survivors=8), opening(2)], colluders=2)
    events = history(contents)
    assert [(event.steps, event.clients, event.colluders) for event in events] == [(3, 10, 2), (1, 8, 2)]
    assert events[1].noise_multiplier == pytest.approx(0.5 * 8**0.5)
    found = summary(contents)
    assert (found.openings, found.rounds) == (4, 3)


def test_the_three_epsilons_are_those_of_the_shares_that_were_there(tmp_path):
    contents = ledger_of(tmp_path, [opening(0), opening(1, survivors=8)], colluders=1)
    found = summary(contents).views
    # one share is 0.5 clip norms wide, so ten make a sum of 0.5 sqrt(10)
    shares = MechanismEvent("discrete_gaussian", 0.5 * 10**0.5, 1, 1.0, clients=10, colluders=1)
    expected = views([shares, replace(shares, survivors=8)], 1e-5, "rdp", unit="client")
    for name in ("release", "aggregators", "local"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.epsilon == pytest.approx(theirs.epsilon, rel=1e-12)
        assert ours.unit == "client"
    assert found.proven


def test_a_plaintext_run_shows_the_local_epsilon_to_its_server(tmp_path):
    found = summary(ledger_of(tmp_path, [opening(0)], backend="plaintext")).views
    assert found.aggregators.epsilon == found.local.epsilon


def test_central_noise_is_counted_in_full(tmp_path):
    server = replace(opening(0, survivors=8), sigma_steps=2.0**20, noise_multiplier=1.0)
    found = summary(ledger_of(tmp_path, [server], trust="central", mechanism="gaussian"))
    assert found.views.release.epsilon == pytest.approx(4.377178, abs=1e-6)
    assert found.views.local.epsilon is None
    assert any("trust central" in warning for warning in found.warnings)


def test_nothing_is_called_proven_of_noise_that_somebody_knows(tmp_path):
    contents = ledger_of(tmp_path, [opening(0)], noise_source="seeded")
    assert summary(contents).views.proven  # of the mechanism, whose noise the seed tells
    (joint,) = add_up([contents])
    for told in (summarise_ledger(contents), joint.to_json()):
        assert told["proven"] is False
        assert not any("Proven" in note for note in told["notes"])
    (unknown,) = add_up([ledger_of(tmp_path / "unknown", [opening(0)])])
    assert unknown.to_json()["proven"] is True
    assert any("Proven" in note for note in unknown.to_json()["notes"])


def test_a_run_without_noise_has_no_epsilon(tmp_path):
    bare = replace(opening(0), sigma_steps=0.0, noise_multiplier=0.0)
    found = summary(ledger_of(tmp_path, [bare, bare], trust="none"))
    assert found.views.release.epsilon is None
    assert not found.private
    assert found.openings == 2
    assert any("non-private" in warning for warning in found.warnings)


def test_a_ledger_without_openings_costs_nothing(tmp_path):
    found = summary(ledger_of(tmp_path, []))
    assert (found.views.release.epsilon, found.views.aggregators.epsilon, found.views.local.epsilon) == (0, 0, 0)
    assert found.views.notes == ("Nothing was opened.",)


def test_seeds_and_simulations_are_always_told():
    seeded = standing_warnings(replace(HEADER, noise_source="seeded", simulation_noise="aggregate"))
    assert "non-private" in seeded[0]
    assert "simulat" in seeded[1]
    assert seeded[2:] == HEADER.warnings


def test_a_seeded_run_is_not_private_whatever_its_epsilon(tmp_path):
    assert not summary(ledger_of(tmp_path, [opening(0)], noise_source="seeded")).private


def test_a_fixed_cohort_is_accounted_as_one(tmp_path):
    contents = ledger_of(
        tmp_path, [opening(0)], mechanism="gaussian", sampling="fixed", sample_rate=None, cohort=10, population=1000
    )
    found = summary(contents).views
    assert found.accountant == "rdp"
    assert found.release.epsilon < found.aggregators.epsilon


def test_the_json_form_is_strict_and_whole(tmp_path):
    contents = ledger_of(tmp_path, [opening(0)], colluders=9, n_min=1, target_epsilon=3)
    answer = summarise_ledger(contents)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert set(answer["views"]) == {"release", "aggregators", "local"}
    assert answer["epsilon"] == answer["views"]["release"]["epsilon"]
    assert (answer["lines"], answer["head"]) == contents.head
    assert answer["target_epsilon"] == 3
    assert answer["private"] is True


XNOISE = {"noise_dropout": "xnoise", "components": (2.0**18, 2.0**16, 2.0**17)}
AGGREGATORS = {"noise_by": "aggregators", "aggregators": 3, "aggregator_sigma": 2.0**20}


def test_the_header_alone_tells_what_is_realised_after_each_drop_out(tmp_path):
    steps = {10: 2.0**18, 9: (2.0**36 + 2.0**32) ** 0.5, 8: (2.0**36 + 2.0**32 + 2.0**34) ** 0.5}
    openings = [opening(i, survivors, steps[survivors]) for i, survivors in enumerate(steps)]
    contents = ledger_of(tmp_path, openings, colluders=3, **XNOISE)
    found = [(event.clients, event.noise_multiplier) for event in history(contents)]
    assert found == [(n, pytest.approx(steps[n] * n**0.5 / 2**20)) for n in (10, 9, 8)]
    for survivors, claimed in ((10, steps[9]), (9, steps[8])):
        with pytest.raises(LedgerError, match="only add up"):
            opening(9, survivors, claimed).check_against(contents.header)


@pytest.mark.parametrize("backend", ["smpc", "plaintext"])
def test_who_holds_every_seed_is_held_off_by_a_clients_first_component_alone(tmp_path, backend):
    steps = (2.0**36 + 2.0**32 + 2.0**34) ** 0.5
    contents = ledger_of(tmp_path, [opening(0, 8, steps)], backend=backend, **XNOISE)
    (event,) = history(contents)
    alone = local(event)
    assert (alone.noise_multiplier, alone.clients, alone.own_multiplier) == (2.0**18 / 2**20, 1, None)
    found = summary(contents).views
    (tmp_path / "plain").mkdir()
    plain = summary(ledger_of(tmp_path / "plain", [opening(0, 8, 2.0**18)], backend=backend)).views
    assert found.local.epsilon == pytest.approx(plain.local.epsilon), "one share as large as the component"
    if backend == "plaintext":
        assert found.aggregators.epsilon == found.local.epsilon


def test_noise_of_the_aggregators_is_counted_once_against_them_and_each_time_in_the_release(tmp_path):
    entry = replace(opening(0, survivors=8), sigma_steps=0.0, noise_multiplier=3**0.5)
    found = summary(ledger_of(tmp_path, [entry], mechanism="gaussian", colluders=7, **AGGREGATORS))
    assert found.views.aggregators.epsilon == pytest.approx(4.377178, abs=1e-6)
    assert found.views.release.epsilon == pytest.approx(exact.gaussian_epsilon(3**0.5, 1e-5))
    assert found.views.local.epsilon is None
    assert any("if all aggregators collude" in warning for warning in found.warnings)


def test_an_entry_that_claims_less_than_the_aggregators_added_counts_as_less(tmp_path):
    entry = replace(opening(0), sigma_steps=0.0, noise_multiplier=3**0.5 / 2)
    found = summary(ledger_of(tmp_path, [entry], mechanism="gaussian", **AGGREGATORS)).views
    assert found.aggregators.epsilon == pytest.approx(exact.gaussian_epsilon(0.5, 1e-5))


def test_noise_by_both_is_told_apart_again(tmp_path):
    z = math.sqrt(10 * 0.5**2 + 3)  # ten shares of half a clip norm, and three aggregators of one
    entry = replace(opening(0), noise_multiplier=z)
    (event,) = history(ledger_of(tmp_path, [entry], **AGGREGATORS | {"noise_by": "both"}))
    assert event.noise_multiplier == pytest.approx(0.5 * 10**0.5)
    assert (event.aggregators, event.aggregator_multiplier) == (3, 1.0)
    kept = against_aggregators(event)
    assert realised_noise(kept) == pytest.approx(math.hypot(0.5 * 10**0.5, 1.0))
