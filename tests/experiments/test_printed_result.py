"""What is printed when a run is done: who added the noise, what was sent, which epsilons were realised."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.printed_result import print_result

VIEWS = {"release": {"epsilon": 5.98765}, "aggregators": {"epsilon": 6.0}, "local": {"epsilon": None}}


def shown(
    capsys,
    trust="distributed",
    by="clients",
    dropout="oversize",
    epsilon=6.0,
    n_min=None,
    private=True,
    words=None,
    unit="client",
):
    summary = {
        "config": {
            "data": {"name": "digits"},
            "lora": {"rank": 4, "targets": []},
            "federation": {"clients": 20, "n_min": n_min},
            "privacy": {"unit": unit, "trust": trust, "mechanism": "skellam", "epsilon": epsilon},
            "noise": {"by": by, "dropout": dropout},
            "aggregation": {"backend": "smpc"},
            "simulation": {"noise_cohort": None},
        },
        "privacy": {"views": VIEWS, "warnings": [], "unit": unit, "delta": 1e-5, "proven": True} | {"private": private},
        "idealised_release_epsilon": None,
        "notes": [],
        "words": words or {},
        "data": "digits",
        "source": "embedded",
        "accuracy_before": 0.1,
        "accuracy_after": 0.9,
        "ring_bits": 31,
        "bytes_per_client": 25544,
        "seconds": 1.0,
        "rounds_done": 4,
        "ended": "all rounds done",
    }
    print_result(summary, Path("run"))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "noise: by clients; shares sized for 20 survivors; ring of 2^31, 25,544 bytes a client and round"),
        ({"n_min": 12, "by": "both"}, "noise: by clients + aggregators; shares sized for 12 survivors; ring"),
        (
            {"dropout": "xnoise"},
            "noise: by clients, xnoise; the surplus over what was asked for taken out of every sum",
        ),
        ({"by": "aggregators"}, "noise: by aggregators; ring of 2^31"),
        ({"trust": "central"}, "noise: by server; ring of 2^31"),
        ({"trust": "none", "epsilon": None, "private": False}, "noise: none; ring of 2^31"),
        ({}, "epsilon realised: release 5.9877, aggregators 6.0000, local none (asked for: 6)"),
        ({"epsilon": None}, "epsilon realised: release 5.9877, aggregators 6.0000, local none\n"),
    ],
)
def test_the_result_says_who_added_the_noise_and_what_epsilon_was_realised(capsys, options, says):
    assert says in shown(capsys, **options)


def test_a_run_without_noise_claims_no_epsilon(capsys):
    assert "epsilon realised" not in shown(capsys, trust="none", epsilon=None, private=False)


def test_the_result_says_what_was_learnt_and_what_a_record_is(capsys):
    words = {"learns": "to count", "record": "a piece", "scored_on": "texts of 2 held-out users, scored without noise"}
    said = shown(capsys, words=words, unit="example")
    assert "learnt: to count; scored on texts of 2 held-out users, scored without noise\n" in said
    assert "; unit example, delta 1e-05, zero-out; one record is a piece\n" in said
    assert "a piece" not in shown(capsys, words=words)


def test_every_epsilon_is_printed_once(capsys):
    said = shown(capsys)
    assert said.count("5.98") == 1
    assert "eps release" not in said


def test_a_run_whose_noise_somebody_knows_is_called_neither_proven_nor_realised(capsys):
    said = shown(capsys, private=False)
    assert "epsilon: none, since this run is not private, see notes" in said
    assert "proven" not in said
    assert "realised" not in said
