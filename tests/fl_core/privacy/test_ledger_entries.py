"""Headers and openings that cannot be are refused when they are made."""

from dataclasses import replace

import pytest

from fl_core.privacy import ledger_entries
from fl_core.privacy.ledger import LedgerError
from secagg.noise_draws import MIN_SIGMA
from tests.fl_core.privacy.ledgers import HEADER, opening


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf"), True, "1", None])
def test_what_is_no_finite_number_is_refused_without_a_crash(number):
    with pytest.raises(LedgerError, match=r"must be a finite number|must be at least 0"):
        replace(opening(0), noise_multiplier=number)


def test_clients_that_add_no_noise_have_none_in_any_entry():
    header = replace(HEADER, noise_by="aggregators", aggregators=3, aggregator_sigma=2.0**20)
    replace(opening(0), sigma_steps=0.0, noise_multiplier=3**0.5).check_against(header)
    with pytest.raises(LedgerError, match="the noise of the aggregators only add up"):
        replace(opening(0), sigma_steps=0.0, noise_multiplier=1.8).check_against(header)
    with pytest.raises(LedgerError, match="clients of this run add no noise"):
        replace(opening(0), sigma_steps=1.0, noise_multiplier=1.7).check_against(header)


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (HEADER, {"trust": "all"}),
        (HEADER, {"unit": "record"}),
        (HEADER, {"run": ""}),
        (HEADER, {"delta": 1.0}),
        (HEADER, {"delta": float("nan")}),
        (HEADER, {"clip_norm": 0}),
        (HEADER, {"clip_norm": float("inf")}),
        (HEADER, {"scale": None}),
        (HEADER, {"n_min": 11}),
        (HEADER, {"clients": True}),
        (HEADER, {"sample_rate": None}),
        (HEADER, {"sampling": "fixed"}),
        (HEADER, {"noise_source": "dice"}),
        (HEADER, {"simulation_noise": "some"}),
        (HEADER, {"target_epsilon": -1}),
        (HEADER, {"warnings": (1,)}),
        (HEADER, {"data": None}),
        (HEADER, {"contribution": 3}),
        (HEADER, {"version": 1}),
        (HEADER, {"noise_by": "server"}),
        (HEADER, {"noise_dropout": "none"}),
        (HEADER, {"noise_by": "aggregators"}),
        (HEADER, {"aggregators": 2, "aggregator_sigma": 9.0}),
        (HEADER, {"noise_by": "both", "aggregators": 2}),
        (HEADER, {"noise_by": "both", "aggregators": 2, "aggregator_sigma": -9.0}),
        (HEADER, {"noise_by": "both", "aggregators": 2, "aggregator_sigma": 9.0, "trust": "central"}),
        (
            HEADER,
            {"noise_by": "both", "aggregators": 2, "aggregator_sigma": 9.0, "scale": None, "mechanism": "gaussian"},
        ),
        (HEADER, {"noise_dropout": "xnoise"}),
        (HEADER, {"components": (9.0, 9.0, 9.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 3.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 0.0), "mechanism": "skellam"}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, "9")}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 9.0), "mechanism": "gaussian"}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 9.0), "trust": "local"}),
        (opening(0), {"round": -1}),
        (opening(0), {"attempt": 1.0}),
        (opening(0), {"survivors": 0}),
        (opening(0), {"set_digest": "AB" * 32}),
        (opening(0), {"set_digest": "ab"}),
        (opening(0), {"noise_multiplier": float("nan")}),
        (opening(0), {"sigma_steps": "1"}),
        (opening(0), {"steps": 0}),
        (opening(0), {"note": None}),
    ],
)
def test_entries_are_checked_when_they_are_made(entry, change):
    with pytest.raises(LedgerError) as caught:
        replace(entry, **change)
    assert "\n" not in str(caught.value)


def test_the_narrowest_component_of_a_discrete_gaussian_is_the_samplers_narrowest():
    assert ledger_entries._MIN_SIGMA == MIN_SIGMA
