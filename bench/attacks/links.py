"""Connections that a party must not serve: a stranger's, and a member's that poses as another."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.attacks import stage as stage_module
from bench.attacks.attack import NOTHING, Attack, Check, Outcome
from bench.attacks.stage import Stage
from secagg.deployment.keys import load_party_keys
from secagg.deployment.new_keys import TLS_KEY, new_keys
from secagg.party import listener
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.listener import COORDINATOR, Listener
from secagg.party.tls import connect, tls_context

__all__ = ["ATTACKS"]

_STRANGER = new_keys("coordinator")


def _as_coordinator(keys: Callable[[Stage, Path], tuple[Path, Path]]) -> Callable[[Path], Outcome]:
    """Somebody else opens a connection to party 0 and asks it for work."""

    def run(folder: Path) -> Outcome:
        with Stage(folder) as stage, _Listening() as heard:
            context = tls_context(False, *keys(stage, folder), [peer.certificate for peer in stage.deployment.parties])
            channel: Channel | None = None
            try:
                channel = connect(stage.deployment.parties[0], context, 2.0)
                channel.send("hello", {"label": b""})
                served = channel.receive(0.7).kind == "ready"
            except ChannelBroken as error:
                return Outcome(False, NOTHING, (*heard.sentences(), f"measured: no answer ({error})"))
            finally:
                if channel is not None:
                    channel.close()
            return Outcome(served, "a party that takes its orders", stage.said)

    return run


class _Listening(logging.Handler):
    """What a party's log says of connections."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._records.append(record.getMessage())

    def sentences(self) -> list[str]:
        """So far; the party's thread may need a moment."""
        deadline = time.monotonic() + 1.0
        while not self._records and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self._records)

    def __enter__(self) -> Self:
        listener.logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener.logger.removeHandler(self)


def _stranger(stage: Stage, folder: Path) -> tuple[Path, Path]:
    _STRANGER.write(folder / "stranger")
    (folder / "stranger" / "own.pem").write_text(_STRANGER.certificate)
    return folder / "stranger" / "own.pem", folder / "stranger" / TLS_KEY


def _trusting(server: bool, certificate: Path, key: Path, trusted: Sequence[str]) -> ssl.SSLContext:
    return tls_context(server, certificate, key, [*trusted, _STRANGER.certificate])


def _party_one(stage: Stage, folder: Path) -> tuple[Path, Path]:
    keys = load_party_keys(stage.folder / "party-1", stage.deployment, 1)
    return keys.tls_certificate, keys.tls_key


_ADMIT = Listener._admit
_ANYONE = Check(
    "the role that a certificate gives",
    ((Listener, "_admit", lambda self, role, label, channel: _ADMIT(self, COORDINATOR, label, channel)),),
)

ATTACKS = (
    Attack(
        "stranger", "stranger", "connects to a party with a certificate of its own and asks as coordinator", "party",
        r"refused: a connection from .*: no TLS handshake: .*certificate verify failed",
        _as_coordinator(_stranger), Check(
            "the list of certificates that TLS trusts", ((stage_module, "tls_context", _trusting),),
            r"refused: a connection from .*: nobody in the deployment said 'hello'",
        ),
    ),
    Attack(
        "party-as-coordinator", "party", "connects to another party with its own certificate and asks as coordinator",
        "party", r"measured: no answer \(silent for", _as_coordinator(_party_one), _ANYONE,
    ),
)  # fmt: skip
