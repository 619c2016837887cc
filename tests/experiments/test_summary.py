"""A run's row says what went wrong on the way, and shows epsilons in their order."""

from __future__ import annotations

import pytest

from experiments.summary import COLUMNS, _incidents, noise_by, table_row

SUMMARY = {
    "config": {
        "federation": {"clients": 10_000},
        "privacy": {"unit": "client", "trust": "central", "mechanism": "gaussian"},
        "noise": {"by": "clients", "dropout": "oversize"},
        "aggregation": {"backend": "smpc"},
    },
    "privacy": {
        "views": {"release": {"epsilon": 1.23456}, "aggregators": {"epsilon": None}, "local": {"epsilon": 123456.0}}
    },
    "data": "mnist",
    "accuracy_before": 0.1,
    "accuracy_after": 0.98765,
    "ring_bits": 37,
    "bytes_per_client": 52544,
    "seconds": 12.34,
}


def test_cells_are_in_the_order_of_the_columns():
    assert dict(zip(COLUMNS, table_row(SUMMARY), strict=True)) == {
        "data": "mnist",
        "clients": "10,000",
        "unit": "client",
        "trust": "central",
        "mechanism": "gaussian",
        "noise by": "server",
        "backend": "smpc",
        "eps release": "1.235",
        "eps aggregators": "∞",
        "eps local": "1.23e+05",
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


def test_incidents_are_counted_and_a_clean_run_has_none():
    below = {"message": "round 2: 3 clients are left, below n_min 4; nothing was opened"}
    close = {"message": "round 4 attempt 0 of run 1234: its 9 clients differ by 1 from those of an earlier opening"}
    rows = [
        {"round": 1, "simulation/nonfinite": 2, "refused": 3},
        {"round": 2, "simulation/nonfinite": 1, **below},
        {"round": 3, "refused": 4},
        {"round": 4, **close},
        {"round": 5, **close},
    ]
    found = _incidents(rows, {"openings": 5, "rounds": 3})
    assert [text.split()[0] for text in found] == ["simulation:", "2", "1", "2", "7"]
    assert found[0].startswith("simulation: 3 contributions")
    assert "fewer than n_min" in found[2]
    assert "earlier opening of the same model" in found[3]
    assert "7 messages were refused" in found[4]
    assert _incidents([{"round": 1, "simulation/nonfinite": 0}], {"openings": 1, "rounds": 1}) == []


def test_summaries_from_before_noise_could_be_chosen_are_still_shown():
    old = {name: value for name, value in SUMMARY.items() if name != "ring_bits"}
    privacy = {"unit": "client", "trust": "distributed", "mechanism": "gaussian"}
    old["config"] = {name: value for name, value in SUMMARY["config"].items() if name != "noise"} | {"privacy": privacy}
    cells = dict(zip(COLUMNS, table_row(old), strict=True))
    assert (cells["noise by"], cells["ring bits"]) == ("clients", "64")
