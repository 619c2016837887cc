"""A run's row says what went wrong on the way, and shows epsilons in their order."""

from __future__ import annotations

from experiments.summary import COLUMNS, _incidents, table_row

SUMMARY = {
    "config": {
        "federation": {"clients": 10_000},
        "privacy": {"unit": "client", "trust": "central", "mechanism": "gaussian"},
        "aggregation": {"backend": "smpc"},
    },
    "privacy": {
        "views": {"release": {"epsilon": 1.23456}, "aggregators": {"epsilon": None}, "local": {"epsilon": 123456.0}}
    },
    "data": "mnist",
    "accuracy_before": 0.1,
    "accuracy_after": 0.98765,
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
        "backend": "smpc",
        "eps release": "1.235",
        "eps aggregators": "∞",
        "eps local": "1.23e+05",
        "accuracy before": "0.1000",
        "accuracy after": "0.9877",
        "bytes/client/round": "52,544",
        "seconds": "12.3",
    }


def test_incidents_are_counted_and_a_clean_run_has_none():
    rows = [
        {"round": 1, "simulation/nonfinite": 2},
        {
            "round": 2,
            "simulation/nonfinite": 1,
            "message": "round 2: 3 clients are left, below n_min 4; nothing was opened",
        },
    ]
    found = _incidents(rows, {"openings": 5, "rounds": 3})
    assert [text.split()[0] for text in found] == ["simulation:", "2", "1"]
    assert found[0].startswith("simulation: 3 contributions")
    assert _incidents([{"round": 1, "simulation/nonfinite": 0}], {"openings": 1, "rounds": 1}) == []
