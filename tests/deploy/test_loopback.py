"""A deployment as an operator starts it: TLS, authenticated SuperNodes, four clients, three parties and their nodes."""

from __future__ import annotations

import importlib.util
import signal

import pytest

from fl_core.checkpoint import latest_checkpoint
from fl_core.config_file import load_config
from fl_core.privacy.ledger import read_ledger
from tests.deploy.hosts import one_machine
from tests.deploy.organisations import Organisations
from tests.deploy.rounds import CONFIG, local_adapter, rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="Flower is not installed"),
]


@pytest.fixture
def deployment(tmp_path):
    made = Organisations(tmp_path, CONFIG, 3, one_machine(clients=4))
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_deployment_survives_a_client_and_an_aggregator_node_killed_in_a_round(deployment, tmp_path):
    out = tmp_path / "out"
    deployment.run(out)
    deployment.wait(lambda: deployment.asked("client-3", "train") == 2, 600)
    deployment.signal("client-3", signal.SIGKILL)
    deployment.wait(lambda: len(rows(out)) == 2, 600)
    theta = latest_checkpoint(out / "checkpoints").theta
    deployment.wait(lambda: deployment.asked("aggregator-1", "query.accumulate") == 3, 600)
    deployment.signal("aggregator-1", signal.SIGKILL)
    deployment.supervise("aggregator-1", 300)
    deployment.wait(lambda: len(rows(out)) == 3, 600)
    assert [row["survivors"] for row in rows(out)] == [4, 3, 3]
    assert [opening.survivors for opening in read_ledger(out / "ledger.jsonl").openings] == [4, 3, 3]
    assert deployment.asked("aggregator-1", "query.accumulate") >= 4, "the round was tried again"
    config = load_config(deployment.config, ["engine.cohort_size=1"])
    assert local_adapter(tmp_path / "local", config, [[0, 1, 2, 3], [0, 1, 2]]).equal(theta)
