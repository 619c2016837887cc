"""Runs as a report reads them: name, metrics rows and a summary that passes its check."""

from __future__ import annotations

import copy

__all__ = ["SUMMARY", "run"]

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


def run(name, after, trust="distributed", clients=1000, epsilon=8.0, **scores):
    summary = copy.deepcopy(SUMMARY)
    summary["config"] |= {
        "federation": {"clients": clients},
        "privacy": {"unit": "example", "trust": trust, "mechanism": "discrete_gaussian", "epsilon": epsilon},
        "data": {"name": "stackoverflow"},
        "lora": {"rank": 8, "targets": ["c_attn"]},
        "simulation": {"noise": "per_client"},
    }
    if trust == "none":
        summary["config"]["privacy"]["epsilon"] = None
    summary["privacy"] |= {
        "warnings": [f"about {name}"], "delta": 1e-5, "notes": [], "unit": "example", "backend": "smpc",
        "neighbouring": "zero_out", "accountant": "rdp", "run": "0" * 32, "private": True, "proven": True,
        "openings": 2, "rounds": 2,
    }  # fmt: skip
    for view in summary["privacy"]["views"].values():
        view |= {"adversary": "somebody", "note": None}
    summary |= {"accuracy_before": 0.1, "accuracy_after": after, "notes": [], "source": "here"}
    summary |= {"records": 10, "parameters": 5, "ended": "all rounds done", "rounds_done": 2, "seconds_rounds": 1.0}
    if scores:
        summary |= {
            "scores_before": {"accuracy": 0.1, **scores},
            "scores_after": {"accuracy": after, **{key: value * 2 for key, value in scores.items()}},
        }
    rows = [{"round": n, "accuracy": 0.1 + n / 2 * (after - 0.1)} for n in range(3)]
    return name, rows, summary
