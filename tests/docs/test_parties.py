"""The documents' own commands for parties on three hosts, each host a network namespace with an address of its own."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from fl_core.privacy.ledger import read_ledger
from tests.deploy.hosts import namespaces, refuses_namespaces
from tests.docs.blocks import ROOT, commands_of

PAGE = "docs/deployment.md"
PATIENCE_S = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Organisations:
    """A folder and a shell for each: hosts A, B and C, and whoever leads; what they exchange is copied by hand."""

    def __init__(self, folder, hosts, shell):
        self.hosts, self.shell = (*hosts.parties, hosts.leader), shell
        self.folders = [folder / name for name in ("a", "b", "c", "leader")]
        self.daemons = []
        for one in self.folders:
            one.mkdir()
            (one / "experiments").symlink_to(ROOT / "experiments")

    def at_home(self, command):
        """The command with the hosts' addresses in place of the documents' names."""
        for letter, host in zip("abc", self.hosts, strict=False):
            command = command.replace(f"sum-{letter}.example", host.address)
        return command

    def type(self, who, command):
        words = self.hosts[who].command("bash", "-ec", self.at_home(command))
        done = subprocess.run(words, cwd=self.folders[who], env=self.shell, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start(self, who, command):
        log = self.folders[who] / "log"
        with log.open("w") as out:
            words = self.hosts[who].command("bash", "-ec", f"exec {self.at_home(command)}")
            self.daemons.append(
                subprocess.Popen(words, cwd=self.folders[who], env=self.shell, stdout=out, stderr=subprocess.STDOUT)
            )
        end = time.monotonic() + PATIENCE_S
        while "listens on" not in log.read_text():
            assert self.daemons[-1].poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)

    def hand(self, pattern, givers, takers):
        for giver in givers:
            for path in self.folders[giver].glob(pattern):
                for taker in takers:
                    if taker != giver:
                        shutil.copy(path, self.folders[taker] / path.name)

    def end(self):
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(30)


@pytest.fixture
def organisations(tmp_path, shell):
    refusal = refuses_namespaces()
    if refusal:
        pytest.skip(refusal)
    with namespaces(clients=0) as hosts:
        made = Organisations(tmp_path, hosts, shell)
        try:
            yield made
        finally:
            made.end()


def test_the_parties_of_the_documents_open_sums_on_three_hosts(organisations):
    todo = [command for _, command in commands_of(PAGE) if " init trial " not in command]
    leader = 3
    makes = [command for command in todo if " init . " in command]
    for command in makes:
        rank = next((rank for rank in range(3) if f"--rank {rank} " in command), leader)
        organisations.type(rank, command)
    organisations.hand("party-?.yaml", range(3), [leader])
    (join,) = (command for command in todo if " assemble " in command)
    organisations.type(leader, join)
    organisations.hand("parties.yaml", [leader], range(3))
    (compare,) = (command for command in todo if command.startswith("sotto party show"))
    digests = {organisations.type(who, compare).splitlines()[0] for who in range(4)}
    assert len(digests) == 1
    # No key leaves its host.
    for who in range(4):
        assert {path.name for path in organisations.folders[who].glob("party-?")} == ({f"party-{who}"} - {"party-3"})
    daemons = [command for command in todo if command.startswith("sotto party --rank")]
    for rank, command in enumerate(daemons):
        organisations.start(rank, command)
    (train,) = (command for command in todo if command.startswith("sotto run"))
    shown = organisations.type(leader, f"{train} federation.rounds=2 --out run")
    assert "all rounds done (2 rounds" in shown
    openings = read_ledger(organisations.folders[leader] / "run" / "ledger.jsonl").openings
    assert [opening.survivors for opening in openings] == [40, 40]
    for rank in range(3):
        assert (organisations.folders[rank] / f"party-{rank}" / "journal").exists()
    # Fewer clients than the parties agreed to are refused, as the page says.
    few = f"{train} federation.clients=10 --out few"
    words = organisations.hosts[leader].command("bash", "-c", few)
    done = subprocess.run(
        words, cwd=organisations.folders[leader], env=organisations.shell, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "open no sum of fewer than 20" in done.stderr
