"""The parties that `bench.crashes` kills: daemons of a deployment, forked, and started again as a supervisor would.

Each runs `run_daemon`, as `sotto party` does, with keys and a journal of its own. A fork has everything imported
already, so that a party is back in milliseconds.
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import secagg.party.state  # noqa: F401 (imports CrypTen, once for all forks)
from bench.crashes.hooks import Kill
from bench.forks import fork, output_to
from secagg.coordinator.local_daemons import local_policy
from secagg.deployment.new_deployment import create_deployment
from secagg.party.daemon import run_daemon
from secagg.party.journal import Journal

__all__ = ["Parties"]


@dataclass(frozen=True)
class _Party:
    pid: int
    handle: int


class Parties:
    """Two running parties.

    Args:
        folder: for the deployment; made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listening = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2)]
        addresses = [("127.0.0.1", listening.getsockname()[1]) for listening in self._listening]
        create_deployment(folder, addresses, local_policy(20.0, None))
        self._parties = [self._start(rank, None) for rank in range(2)]

    @property
    def journals(self) -> list[Path]:
        """Each party's journal."""
        return [self.folder / f"party-{rank}" / "journal" for rank in range(2)]

    @property
    def handles(self) -> list[int]:
        """Descriptors that become readable when a party ends, by rank."""
        return [party.handle for party in self._parties]

    def kill(self, rank: int) -> None:
        """End a party; `again` brings it back."""
        os.kill(self._parties[rank].pid, signal.SIGKILL)

    def again(self, rank: int, kill: Kill | None = None) -> None:
        """Start a party in the place of one that ended or is ended now.

        Args:
            rank: which.
            kill: at which opening of its journal it ends itself, if it does.
        """
        self.kill(rank)
        os.waitpid(self._parties[rank].pid, 0)
        os.close(self._parties[rank].handle)
        self._parties[rank] = self._start(rank, kill)

    def close(self) -> None:
        """End both."""
        for rank, party in enumerate(self._parties):
            self.kill(rank)
            os.waitpid(party.pid, 0)
            os.close(party.handle)
        for listening in self._listening:
            listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, rank: int, kill: Kill | None) -> _Party:
        pid = fork(lambda: self._serve(rank, kill))
        return _Party(pid, os.pidfd_open(pid))

    def _serve(self, rank: int, kill: Kill | None) -> NoReturn:
        output_to(self.folder / f"party-{rank}.err")
        if kill is not None:
            _die_at_opening(kill)
        keys = self.folder / f"party-{rank}"
        # `run_daemon` closes what it is given, and a restart needs it again.
        listening = os.dup(self._listening[rank].fileno())
        run_daemon(self.folder / "parties.yaml", rank, keys, keys / "journal", listening)


def _die_at_opening(kill: Kill) -> None:
    left, write = [kill.number], Journal.open

    def dying(self: Journal, *arguments: Any) -> None:
        left[0] -= 1
        if not left[0] and kill.how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, *arguments)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.open = dying  # type: ignore[method-assign]
