"""Daemons as `sotto party` runs them, on three hosts: network namespaces on a bridge, coordinated from a fourth."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from secagg import ClientMessage, RoundSpec, SmpcAggregator
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy
from secagg.errors import AggregationError, PartyFailure
from secagg.randomness import Keystream
from secagg.sharing import split

SOURCE = Keystream.system()
ROOT = Path(__file__).resolve().parents[3]
TAG = f"s{os.getpid() % 100_000}"
NET = f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 250}"


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


def can_make_namespaces():
    if os.geteuid() != 0:
        return False
    try:
        made = ip("netns", "add", f"{TAG}-probe", check=False).returncode == 0
    except FileNotFoundError:
        return False
    if made:
        ip("netns", "delete", f"{TAG}-probe")
    return made


pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need root and `ip netns`")


@pytest.fixture(scope="module")
def network():
    """Three namespaces, each with one address on a bridge that this process has an address on too."""
    names = [f"{TAG}-{rank}" for rank in range(3)]
    try:
        ip("link", "add", f"{TAG}b", "type", "bridge")
        ip("address", "add", f"{NET}.1/24", "dev", f"{TAG}b")
        ip("link", "set", f"{TAG}b", "up")
        for rank, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"{TAG}v{rank}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{TAG}v{rank}", "master", f"{TAG}b", "up")
            ip("-n", name, "address", "add", f"{NET}.{rank + 10}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)
        ip("link", "delete", f"{TAG}b", check=False)


class Hosts:
    """One daemon in each namespace, started as an operator would."""

    def __init__(self, names, folder):
        self.names, self.folder = names, folder
        self.daemons = [self._start(rank) for rank in range(3)]
        for daemon in self.daemons:
            self._wait(daemon)

    def restart(self, rank):
        self.daemons[rank].kill()
        self.daemons[rank].wait()
        self.daemons[rank] = self._start(rank)
        self._wait(self.daemons[rank])

    def end(self):
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait()

    def _start(self, rank):
        command = ["ip", "netns", "exec", self.names[rank], sys.executable, "-m", "experiments.cli", "party"]
        command += ["--rank", str(rank), "--config", str(self.folder / "parties.yaml")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @staticmethod
    def _wait(daemon):
        said = []
        while line := daemon.stdout.readline():
            said.append(line)
            if "listens on" in line:
                return
        pytest.fail(f"a daemon ended: {''.join(said)}")


@pytest.fixture(scope="module")
def hosts(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployment") / "all"
    addresses = [(f"{NET}.{rank + 10}", 7000 + rank) for rank in range(3)]
    create_deployment(folder, addresses, Policy(n_min=2, timeout_s=10))
    hosts = Hosts(network, folder)
    yield hosts
    hosts.end()


def run_round(aggregator, number, attempt=0, hook=None):
    spec = RoundSpec("hosts", number, attempt, range(5), 1000, 2, bits=20)
    aggregator.open_round(spec)
    for client in range(5):
        shares = split(np.full(1000, client - 1, dtype=np.int64), 3, SOURCE, 20)
        aggregator.submit(ClientMessage("hosts", number, attempt, (client,), shares))
    return aggregator.close(hook).total


def test_three_hosts_open_sums_survive_a_restart_and_a_lost_link_and_open_nothing_twice(hosts):
    with SmpcAggregator(3, 8, hosts.folder) as aggregator:
        for number in (1, 2):
            assert run_round(aggregator, number).tolist() == [5] * 1000
        assert aggregator.bytes_between_parties > 6 * 1000 * 8

        hosts.restart(1)
        with pytest.raises(AggregationError, match="was opened before"):
            run_round(aggregator, 2)
        assert run_round(aggregator, 3).tolist() == [5] * 1000

        link = f"{TAG}v2"
        started = time.monotonic()
        with pytest.raises(PartyFailure, match="party 2"):
            run_round(aggregator, 4, hook=lambda clients: ip("link", "set", link, "down"))
        assert time.monotonic() - started < 60
        ip("link", "set", link, "up")
        time.sleep(1)
        assert run_round(aggregator, 4, attempt=1).tolist() == [5] * 1000


def test_whoever_is_not_in_the_deployment_is_refused_and_disturbs_nobody(hosts, tmp_path):
    stranger = tmp_path / "stranger"
    create_deployment(stranger, [(f"{NET}.{rank + 10}", 7000 + rank) for rank in range(3)], Policy(timeout_s=3))
    with SmpcAggregator(3, 3, stranger) as aggregator, pytest.raises(PartyFailure, match="party 0 of 3"):
        aggregator.start()
    with SmpcAggregator(3, 8, hosts.folder) as aggregator:
        assert run_round(aggregator, 9).tolist() == [5] * 1000
