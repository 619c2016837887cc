"""The same deployment with every organisation in a network namespace of its own, at an address of its own."""

from __future__ import annotations

import importlib.util
import time

import pytest

from fl_core.checkpoint import latest_checkpoint
from fl_core.config_file import load_config
from fl_core.privacy.ledger import read_ledger
from secagg.deployment.parties_file import load_deployment
from tests.deploy.hosts import namespaces, refuses_namespaces
from tests.deploy.organisations import Organisations
from tests.deploy.rounds import CONFIG, local_adapter, rows

PATIENCE_S = 60
SHORT = CONFIG.replace("rounds: 3", "rounds: 2").replace("connect_s: 150", f"connect_s: {PATIENCE_S}")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="Flower is not installed"),
]


@pytest.fixture
def deployment(tmp_path):
    refusal = refuses_namespaces()
    if refusal:
        pytest.skip(refusal)
    with namespaces(clients=4) as hosts:
        made = Organisations(tmp_path, SHORT, 3, hosts)
        try:
            made.start()
            yield made
        finally:
            made.close()


def test_a_deployment_across_namespaces_survives_a_party_cut_off_in_a_round(deployment, tmp_path):
    out = tmp_path / "out"
    everyone = deployment.hosts
    addresses = {host.address for host in (everyone.leader, *everyone.parties, *everyone.clients)}
    assert len(addresses) == 6
    assert not any(address.startswith("127.") for address in addresses)
    public = load_deployment(tmp_path / "deployment" / "parties.yaml")
    assert [party.host for party in public.parties] == [host.address for host in everyone.parties]
    deployment.run(out)
    # Party 1 and its SuperNode vanish once the second round's clients compute.
    clients = [name for name in deployment.node_names() if name.startswith("client")]
    deployment.wait(lambda: all(deployment.asked(name, "train") == 2 for name in clients), 600)
    everyone.parties[1].set_link("down")
    # The parts for it were sent when the others got theirs, and are waited for so long.
    deployment.wait(lambda: deployment.asked("aggregator-0", "query.accumulate") == 2, 600)
    time.sleep(PATIENCE_S + 5)
    everyone.parties[1].set_link("up")
    deployment.wait(lambda: len(rows(out)) == 2, 600)
    assert [row["survivors"] for row in rows(out)] == [4, 4]
    assert [opening.survivors for opening in read_ledger(out / "ledger.jsonl").openings] == [4, 4]
    tries = deployment.asked("client-0", "train") - 1
    assert tries >= 2, "the round was tried again"
    config = load_config(deployment.config, ["engine.cohort_size=1"])
    everybody = [0, 1, 2, 3]
    expected = local_adapter(tmp_path / "local", config, [everybody, everybody], [0, tries - 1])
    assert expected.equal(latest_checkpoint(out / "checkpoints").theta)
