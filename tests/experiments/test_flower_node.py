"""A SuperNode goes by what its own host says, and a virtual one by the run's configuration, if parties know its key."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("flwr.app", reason="Flower is not installed")

from experiments import flower_node
from fl_core.config import ConfigError
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy

VIRTUAL = {"partition-id": 0, "num-partitions": 2}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "--node-config: role is missing; allowed: a text"),
        (VIRTUAL, "--node-config: role is missing; allowed: a text"),
        ({"role": "server"}, "role is 'server'; allowed: client, aggregator"),
        ({"role": "aggregator", "spool": "s"}, "parties is missing"),
    ],
)
def test_a_host_that_does_not_say_what_its_node_is_has_none(given, sentence):
    context = SimpleNamespace(node_config=given, run_config={"config": "/never/read"})
    with pytest.raises(ConfigError, match=sentence):
        flower_node.node_of(context)


def test_virtual_nodes_do_not_stand_for_clients_with_keys_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(flower_node, "_in_actor", lambda: True)
    roster = {client: new_keys(f"client-{client}").public for client in (0, 1)}
    create_deployment(tmp_path / "made", [("127.0.0.1", 7000), ("127.0.0.1", 7001)], Policy(), roster)
    config = tmp_path / "run.yaml"
    config.write_text(
        "federation: {clients: 2, n_min: 2}\nprivacy: {noise_multiplier: 1.0}\n"
        f"aggregation: {{deployment: {tmp_path / 'made'}, parties: 2}}\n"
    )
    context = SimpleNamespace(node_config=VIRTUAL, run_config={"config": str(config)})
    with pytest.raises(ConfigError, match="made has no cohort, with whose key simulated clients sign"):
        flower_node.node_of(context)
