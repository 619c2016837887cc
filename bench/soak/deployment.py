"""Everything of one deployment under load: daemons behind links, a coordinator, a crowd of clients; each a process.

Started as an operator would, with keys of their own and `sotto party`; `bench.soak.clients` does them harm. A short
test forks this process instead of starting interpreters, so that they are there at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.forks import die_with_parent, fork
from bench.ports import free_ports
from bench.soak.checks import read_log
from bench.soak.links import Link
from bench.soak.load import PARTIES
from bench.soak.probe import ask_objects, site_folder
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy

__all__ = ["Deployment", "Load"]

_START_S = 180.0


@dataclass(frozen=True)
class Load:
    """How much of what.

    Attributes:
        seconds: of rounds.
        clients, n_min, length: of every round.
        wait_s: that the coordinator waits for clients; who is slower is not in the sum.
        party_s: that parties wait for each other; the coordinator waits half as long again.
        harm_s: between two faults, on average.
        quiet_s: length of each quiet stretch.
        forked: processes are forks of this one instead of new interpreters: a test's, to be there at once.
        plants: by role ("party 0", "coordinator", "crowd"): called in a fork first, to see the soak find a fault.
    """

    seconds: float
    clients: int = 24
    n_min: int = 12
    length: int = 2048
    wait_s: float = 0.5
    party_s: float = 10.0
    harm_s: float = 9.0
    quiet_s: float = 10.0
    forked: bool = False
    plants: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def longest_s(self) -> float:
        """Bound of an attempt: connect, open, close, reveal, each with its time-out, and the wait for clients."""
        return 4 * 1.5 * self.party_s + self.wait_s + 10.0


class _Process:
    """A member of the deployment, and how to end it."""

    def __init__(
        self,
        role: str,
        module: str,
        arguments: list[str],
        load: Load,
        environment: dict[str, str],
        log: Path,
        fd: int = -1,
    ) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if load.forked:
                self.pid = _fork(module, arguments, output, fd, load.plants.get(role))
            else:
                command = [sys.executable, "-m", module, *arguments]
                self._child = subprocess.Popen(
                    command,
                    env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
                    stdout=output,
                    stderr=output,
                    pass_fds=[fd] if fd >= 0 else [],
                    preexec_fn=die_with_parent,
                )
                self.pid = self._child.pid
        finally:
            os.close(output)
        self._ended = False

    def alive(self) -> bool:
        """Whether it has not ended."""
        if not self._ended and os.waitpid(self.pid, os.WNOHANG)[0]:
            self._ended = True
        return not self._ended

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self.alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and wait for that."""
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._ended = True
        if self._child is not None:
            self._child.returncode = 0  # it was waited for here


def _fork(module: str, arguments: list[str], output: int, keep: int, plant: Callable[[], None] | None) -> int:
    def live() -> None:
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2 and descriptor != keep:
                with contextlib.suppress(OSError):
                    os.close(descriptor)  # a link's, which could not be cut otherwise
        if plant is not None:
            plant()
        sys.argv = [module, *arguments]
        importlib.import_module(module).main()

    return fork(live)


class Deployment:
    """All processes of one soak."""

    def __init__(self, folder: Path, load: Load, seed: str) -> None:
        self.folder, self.load, self._seed = folder, load, seed
        self._probe = folder / "probe"
        self.environment = site_folder(self._probe)
        self._ports = free_ports(PARTIES)
        self.links = [Link(port) for port in self._ports]
        roster = {}
        for client in range(load.clients):
            made = new_keys(f"client-{client}")
            made.write(folder / "clients" / f"client-{client}")
            roster[client] = made.public
        addresses = [("127.0.0.1", link.port) for link in self.links]
        create_deployment(folder, addresses, Policy(n_min=load.n_min, timeout_s=load.party_s), roster)
        self.processes: dict[str, _Process] = {}
        self._front = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.quiet(True)

    @property
    def log(self) -> Path:
        """The coordinator's."""
        return self.folder / "rounds.log"

    def start_party(self, rank: int) -> None:
        """Start a daemon as its operator would."""
        arguments = ["party", "--rank", str(rank), "--config", str(self.folder / "parties.yaml")]
        arguments += ["--listen", f"127.0.0.1:{self._ports[rank]}"]
        self._start(f"party {rank}", "experiments.cli", arguments)

    def start(self) -> None:
        """Everyone; the coordinator begins once the parties answer."""
        load = self.load
        for rank in range(PARTIES):
            self.start_party(rank)
        for rank in range(PARTIES):
            self._wait(lambda rank=rank: "listens on" in self._said(f"party {rank}"), f"party {rank}")  # type: ignore[misc]
        common = ["--folder", str(self.folder), "--clients", str(load.clients), "--n-min", str(load.n_min)]
        common += ["--length", str(load.length), "--wait-s", str(load.wait_s)]
        os.set_inheritable(self._front.fileno(), True)
        listening = self._front.fileno()
        own = ["--log", str(self.log), "--listen-fd", str(listening), "--timeout-s", str(1.5 * load.party_s)]
        own += ["--seconds", str(load.seconds)]
        self._start("coordinator", "bench.soak.coordinator", [*common, *own], listening)
        port = str(self._front.getsockname()[1])
        crowd = ["--port", port, "--seed", self._seed, "--counts", str(self.folder / "crowd.json")]
        self._start("crowd", "bench.soak.crowd", [*common, *crowd])
        self._wait(lambda: any(line["kind"] == "begun" for line in read_log(self.log)), "the coordinator")

    def quiet(self, wanted: bool) -> None:
        """Have all clients be honest, or not."""
        mark = self.folder / "quiet"
        mark.touch() if wanted else mark.unlink(missing_ok=True)

    def crowd(self) -> dict[str, int]:
        """What the clients say that they did."""
        path = self.folder / "crowd.json"
        found: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def objects(self, who: str) -> int | None:
        """Python objects of one process."""
        return ask_objects(self.processes[who].pid, self._probe, 2.0)

    def close(self) -> None:
        """End everyone."""
        for process in self.processes.values():
            process.kill()
        for link in self.links:
            link.close()
        self._front.close()

    def _start(self, role: str, module: str, arguments: list[str], fd: int = -1) -> None:
        log = self.folder / f"{role}.out"
        self.processes[role] = _Process(role, module, arguments, self.load, self.environment, log, fd)

    def _said(self, role: str) -> str:
        return (self.folder / f"{role}.out").read_text(errors="replace")

    def _wait(self, condition: Callable[[], bool], role: str) -> None:
        deadline = time.monotonic() + _START_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{role} did not start: {self._said(role.removeprefix('the '))[-500:]}")
            time.sleep(0.05)
