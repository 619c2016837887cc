"""The table has a row an arm, with epsilons in their order, spreads, gains and every score."""

from __future__ import annotations

import pytest

from experiments.arm_table import arm_table, noise_by
from experiments.arms import arms_of
from tests.experiments.stored_run import SUMMARY, run


def cells(summary):
    columns, (row,) = arm_table(arms_of([("one", [], summary)]))
    return dict(zip(columns, row, strict=True))


def test_cells_are_in_the_order_of_the_columns():
    assert cells(SUMMARY) == {
        "data": "mnist",
        "clients": "10,000",
        "unit": "client",
        "trust": "central",
        "mechanism": "gaussian",
        "noise by": "server",
        "backend": "smpc",
        "eps release": "1.235",
        "eps aggregators": "∞",
        "eps local": "123,456",
        "accuracy before": "0.1000",
        "accuracy after": "0.9877",
        "ring bits": "37",
        "bytes/client/round": "52,544",
        "seconds": "12.3",
    }


@pytest.mark.parametrize(
    ("trust", "by", "dropout", "said"),
    [
        ("none", "clients", "oversize", "-"),
        ("central", "clients", "oversize", "server"),
        ("local", "clients", "oversize", "clients"),
        ("distributed", "clients", "oversize", "clients"),
        ("distributed", "clients", "xnoise", "clients, xnoise"),
        ("distributed", "aggregators", "oversize", "aggregators"),
        ("distributed", "both", "xnoise", "clients + aggregators, xnoise"),
    ],
)
def test_the_one_who_adds_the_noise_is_named(trust, by, dropout, said):
    assert noise_by({"privacy": {"trust": trust}, "noise": {"by": by, "dropout": dropout}}) == said


def test_summaries_from_before_noise_could_be_chosen_are_still_shown():
    old = {name: value for name, value in SUMMARY.items() if name != "ring_bits"}
    privacy = {"unit": "client", "trust": "distributed", "mechanism": "gaussian"}
    old["config"] = {name: value for name, value in SUMMARY["config"].items() if name != "noise"} | {"privacy": privacy}
    shown = cells(old)
    assert (shown["noise by"], shown["ring bits"]) == ("clients", "64")


def test_a_run_without_privacy_alone_keeps_no_gain():
    assert "gain kept" not in arm_table(arms_of([run("none", 0.2, "none")]))[0]


def test_the_table_shows_spread_runs_gain_and_every_score():
    arms = arms_of(
        [run("none", 0.2, "none", perplexity=200.0), *(run(f"a@{k}", 0.1 + k / 50, perplexity=200.0) for k in (1, 2))]
    )
    columns, rows = arm_table(arms)
    cells = dict(zip(columns, rows[1], strict=True))
    assert cells["accuracy after"] == "0.1300 ± 0.0141"
    assert cells["runs"] == "2"
    assert cells["gain kept"] == "30.0%"
    assert cells["perplexity, before and after"] == "200.0 → 400.0"
    assert dict(zip(columns, rows[0], strict=True))["accuracy after"] == "0.2000"
