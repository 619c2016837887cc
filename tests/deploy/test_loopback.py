"""A deployment as an operator starts it: TLS, authenticated SuperNodes, four clients, three parties and their nodes."""

from __future__ import annotations

import importlib.util
import json
import signal
import time

import pytest

from experiments.tasks import build_task
from fl_core.adapters import flat_adapter
from fl_core.checkpoint import latest_checkpoint
from fl_core.config_file import load_config
from fl_core.engines.local import LocalEngine
from fl_core.privacy.ledger import Ledger, read_ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from secagg import PlaintextAggregator
from tests.deploy.loopback import Loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="Flower is not installed"),
]

CONFIG = """
data: {{name: digits, classes: [5, 6, 7, 8, 9]}}
model: {{channels: [4, 8], pretrain: {{data: digits, classes: [0, 1, 2, 3, 4], epochs: 1, batch_size: 32}}}}
lora: {{rank: 4, alpha: 8, targets: [fc]}}
federation: {{clients: 4, rounds: 3, n_min: 3, sample_rate: 0.5}}
privacy: {{noise_multiplier: 1.0, delta: 1.0e-3, insecure_seed: 1}}
aggregation: {{deployment: {deployment}, retries: 3}}
engine: {{name: flower, threads: 1}}
flower: {{relay: aggregators, timeout_s: 150, connect_s: 150}}
"""


@pytest.fixture
def deployment(tmp_path):
    made = Loopback(tmp_path, CONFIG, clients=4, n_min=3)
    try:
        made.start_parties()
        made.start_link()
        for name in made.node_names():
            made.register(name)
        for name in made.node_names():
            made.start_node(name)
        yield made
    finally:
        made.close()


def rows(out):
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()][1:] if path.exists() else []


def wait(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def local_adapter(folder, config, present):
    """The local engine's, with `present` clients in each round."""

    class Reference(LocalEngine):
        def _present(self, number):
            return present[number - 1]

    task = build_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), max(task.records, config.federation.clients))
    with RunFolder(folder) as opened, Ledger.create(opened.ledger_path, ledger_header(config, plan, "r")) as ledger:
        engine = Reference(task, config, plan, opened, ledger, PlaintextAggregator(), None)
        for number in range(1, len(present) + 1):
            engine._round(number)
        return engine.state.theta


def test_a_deployment_survives_a_client_and_an_aggregator_node_killed_in_a_round(deployment, tmp_path):
    out = tmp_path / "out"
    deployment.run(out)
    wait(lambda: deployment.log("client-3").count("Receiving: train") == 2, 600, deployment.log("superlink"))
    deployment.signal("client-3", signal.SIGKILL)
    wait(lambda: len(rows(out)) == 2, 600, deployment.log("superlink"))
    theta = latest_checkpoint(out / "checkpoints").theta
    asked = "Receiving: query.accumulate"
    wait(lambda: deployment.log("aggregator-1").count(asked) == 3, 600, deployment.log("superlink"))
    deployment.signal("aggregator-1", signal.SIGKILL)
    deployment.supervise("aggregator-1", 300)
    wait(lambda: len(rows(out)) == 3, 600, deployment.log("superlink"))
    assert [row["survivors"] for row in rows(out)] == [4, 3, 3]
    assert [opening.survivors for opening in read_ledger(out / "ledger.jsonl").openings] == [4, 3, 3]
    assert deployment.log("aggregator-1").count(asked) >= 4, "the round was tried again"
    config = load_config(deployment.config, ["engine.cohort_size=1"])
    assert local_adapter(tmp_path / "local", config, [[0, 1, 2, 3], [0, 1, 2]]).equal(theta)
