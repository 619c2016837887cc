"""Starting, watching and ending the party processes of one machine.

Each party is `python -m secagg.party.daemon` in a session of its own (Ctrl-C in the caller's terminal does not reach
it), with a socket pair to the caller and a private folder for the rendezvous and its log. A party that dies or stays
silent becomes a `PartyFailure` that names it; no call blocks longer than its time-out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

import secagg
from secagg.errors import AggregationError
from secagg.party.frames import Channel, ChannelBroken, Frame

__all__ = ["PartyFailure", "PartyGroup"]

# A process needs seconds to import torch and CrypTen, more on a loaded machine.
_START_S = 180.0
_POLL_S = 0.2
# A party whose socket is closed is on its way out; its exit code says why.
_EXIT_S = 5.0


class PartyFailure(AggregationError):
    """A party died, stayed silent or answered nonsense; nothing was opened and the group is gone."""


@dataclass(frozen=True)
class _Party:
    process: subprocess.Popen[bytes]
    channel: Channel
    log: Path


class PartyGroup:
    """`parties` running processes that have joined each other.

    Args:
        parties: how many.
        timeout_s: longest time for any single answer.

    Raises:
        PartyFailure: if they do not come up.
    """

    def __init__(self, parties: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._folder = Path(tempfile.mkdtemp(prefix="sotto-parties-"))  # mode 0700
        self._members: list[_Party] = []
        self._finalizer = weakref.finalize(self, _end, self._members, self._folder, os.getpid())
        try:
            for rank in range(parties):
                self._members.append(self._start(rank, parties))
            self._collect(("ready",), max(timeout_s, _START_S))
        except BaseException:
            self.kill()
            raise

    @property
    def pids(self) -> list[int]:
        """Process ids, by rank."""
        return [member.process.pid for member in self._members]

    @property
    def alive(self) -> bool:
        """Whether every party is still running."""
        return all(member.process.poll() is None for member in self._members)

    def send(self, rank: int, frame: Frame) -> None:
        """Send a frame to one party.

        Raises:
            PartyFailure: if it is gone or does not read; the group is killed.
        """
        try:
            self._members[rank].channel.send(frame)
        except ChannelBroken as error:
            self._fail([rank], str(error))
        except BaseException:
            self.kill()  # interrupted: half a frame would garble all that follow
            raise

    def ask(self, frame: Frame, kinds: tuple[str, ...]) -> list[Frame]:
        """Send a frame to every party and wait for every answer, by rank.

        Args:
            frame: the question.
            kinds: what an answer may be.

        Raises:
            PartyFailure: if one is gone, silent or answers anything else; the group is killed.
        """
        try:
            for rank in range(len(self._members)):
                self.send(rank, frame)
            return self._collect(kinds, self._timeout_s)
        except BaseException:
            # Also when the caller is interrupted: an answer left unread would pass for the next question's.
            self.kill()
            raise

    def kill(self) -> None:
        """End all processes at once and remove their folder; legal more than once."""
        self._finalizer()

    def _start(self, rank: int, parties: int) -> _Party:
        ours, theirs = socket.socketpair()
        log = self._folder / f"party-{rank}.log"
        root = str(Path(secagg.__file__).resolve().parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "PYTHONPATH": root + (os.pathsep + inherited if inherited else ""),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        # -P: a file in the current folder must not stand in for a module.
        command = [sys.executable, "-P", "-m", "secagg.party.daemon", "--parent", str(os.getpid())]
        command += ["--rank", str(rank), "--parties", str(parties), "--socket", str(theirs.fileno())]
        command += ["--rendezvous", f"file://{self._folder}/rendezvous", "--timeout", str(self._timeout_s)]
        with log.open("wb") as output, theirs:
            process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return _Party(process, Channel(ours, self._timeout_s, self._timeout_s), log)

    def _collect(self, kinds: tuple[str, ...], timeout_s: float) -> list[Frame]:
        """One frame of each party, by rank, while watching that none of them dies."""
        deadline = time.monotonic() + timeout_s
        ranks = {member.channel.connection: rank for rank, member in enumerate(self._members)}
        heard: set[int] = set()
        answers: dict[int, Frame] = {}
        while len(answers) < len(ranks):
            left = deadline - time.monotonic()
            ready = wait([c for c, rank in ranks.items() if rank not in answers], max(0.0, min(left, _POLL_S)))
            for rank in (ranks[connection] for connection in ready if isinstance(connection, Connection)):
                frame = self._receive(rank)
                if frame.kind == "heard":
                    heard.add(rank)
                elif frame.kind in kinds:
                    answers[rank] = frame
                else:
                    self._fail([rank], f"answered {frame.kind!r}")
            dead = [rank for rank, member in enumerate(self._members) if member.process.poll() is not None]
            if dead:
                self._fail(dead, "ended")
            if left <= 0:
                missing = [rank for rank in ranks.values() if rank not in answers]
                # One silent party keeps the others waiting; it is the one that has not even heard the question.
                silent = [rank for rank in missing if rank not in heard]
                self._fail(silent or missing, f"gave no answer within {timeout_s:g} s", exit_s=0)
        return [answers[rank] for rank in sorted(answers)]

    def _receive(self, rank: int) -> Frame:
        try:
            return self._members[rank].channel.receive(self._timeout_s)
        except ChannelBroken as error:
            self._fail([rank], str(error))

    def _fail(self, ranks: list[int], reason: str, exit_s: float = _EXIT_S) -> NoReturn:
        # When one party dies the others end too, a moment later: a signal names the first cause, then an exit code.
        deadline = time.monotonic() + exit_s
        while time.monotonic() < deadline and self._members[ranks[0]].process.poll() is None:
            time.sleep(0.02)
        codes = {rank: member.process.poll() or 0 for rank, member in enumerate(self._members)}
        for rank, code in sorted(codes.items(), key=lambda item: item[1]):
            if code < 0:
                ranks, reason = [rank], f"was killed by signal {-code} ({_signal_name(-code)})"
                break
            if code > 0:
                last = _last_line(self._members[rank].log)
                ranks, reason = [rank], f"ended with exit code {code}: {last}"
                break
        named = " and ".join(str(rank) for rank in ranks)
        count = len(self._members)
        self.kill()
        raise PartyFailure(f"party {named} of {count} {reason}")


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return "unnamed"


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "no message"
    return "no message"


def _end(members: list[_Party], folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the caller: the parties are not its own
    for member in members:
        with contextlib.suppress(OSError):
            member.channel.close()
        with contextlib.suppress(OSError):
            member.process.kill()
    for member in members:
        with contextlib.suppress(subprocess.TimeoutExpired):
            member.process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)
