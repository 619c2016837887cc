"""`flwr run` on Flower's simulation engine: the app of a deployment with virtual SuperNodes, and parties that run."""

from __future__ import annotations

import importlib.util

import pytest

from fl_core.checkpoint import latest_checkpoint
from fl_core.config_file import load_config
from tests.deploy.hosts import one_machine
from tests.deploy.organisations import Organisations
from tests.deploy.rounds import CONFIG, local_adapter, rows

SIMULATED = CONFIG.replace("rounds: 3", "rounds: 2").replace("relay: aggregators", "relay: coordinator")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("flwr", "ray")), reason="Flower or Ray is not installed"
    ),
]


def test_flwr_run_simulates_the_deployments_app_with_the_local_engines_bits(tmp_path):
    made = Organisations(tmp_path, SIMULATED, 3, one_machine(clients=0))
    out = tmp_path / "out"
    try:
        made.start()
        made.run(out, "--federation-config", "num-supernodes=2 client-resources-num-cpus=1")
        made.wait(lambda: (out / "summary.json").exists(), 600)
    finally:
        made.close()
    assert [row["survivors"] for row in rows(out)] == [4, 4]
    config = load_config(made.config, ["engine.cohort_size=1"])
    everybody = [0, 1, 2, 3]
    theta = latest_checkpoint(out / "checkpoints").theta
    assert local_adapter(tmp_path / "local", config, [everybody, everybody]).equal(theta)
