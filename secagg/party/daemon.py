"""One party as a long-lived process: listens, serves one coordinator at a time, and joins the others round by round.

`run_daemon` is what `sotto party` runs and ends only with its process. A coordinator that hangs up, or is replaced by
a newer connection of its own, takes its round with it: shares are dropped and nothing is opened. What was opened is in
the journal, so a party that is started again refuses to open it twice. A share never touches a log or a file.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from secagg.core_dumps import forbid_core_dumps
from secagg.deployment.checks import fingerprint
from secagg.deployment.keys import load_party_keys
from secagg.deployment.parties_file import load_deployment
from secagg.deployment.terms import Deployment
from secagg.errors import SottoError
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.journal import Journal
from secagg.party.listener import COORDINATOR, Listener, listening_socket
from secagg.party.mesh import Mesh, join, party_role
from secagg.party.spool import Spool
from secagg.party.state import Party
from secagg.party.tls import connect, tls_context

__all__ = ["run_daemon"]

logger = logging.getLogger(__name__)


def run_daemon(
    config: Path,
    rank: int,
    keys: Path,
    journal: Path,
    listen_fd: int | None = None,
    on_ready: Callable[[str], None] = lambda line: None,
    spool: Path | None = None,
) -> NoReturn:
    """Be party `rank` of a deployment until the process is ended.

    Args:
        config: the deployment's `parties.yaml`.
        rank: which of its parties.
        keys: folder with this party's private keys.
        journal: file that remembers openings; one a party, kept for ever.
        listen_fd: a listening socket to use instead of the party's address, inherited from the caller.
        on_ready: called with one line once connections are accepted.
        spool: folder in which sealed parts may be that the coordinator only names.

    Raises:
        SottoError: for a deployment, key or journal that cannot be used, or an address that cannot be listened on.
    """
    forbid_core_dumps()
    deployment = load_deployment(config)
    if not 0 <= rank < len(deployment.parties):
        raise SottoError(f"rank is {rank}; {config} has parties 0 to {len(deployment.parties) - 1}")
    own = load_party_keys(keys, deployment, rank)
    uploads = None if spool is None else Spool(spool)
    peer = deployment.parties[rank]
    others = [other.certificate for other in deployment.parties if other is not peer]
    roles = {fingerprint(other.certificate): party_role(index) for index, other in enumerate(deployment.parties)}
    del roles[fingerprint(peer.certificate)]
    roles[fingerprint(deployment.coordinator)] = COORDINATOR
    dealer = [] if deployment.dealer is None else [deployment.dealer.certificate]
    server = tls_context(True, own.tls_certificate, own.tls_key, [*others, deployment.coordinator])
    client = tls_context(False, own.tls_certificate, own.tls_key, [*others, *dealer])
    with Journal(journal) as openings:
        listener = Listener(listening_socket(peer, listen_fd), server, roles, deployment.policy.timeout_s)
        on_ready(f"party {rank} of {len(deployment.parties)} listens on {peer.address}")
        while True:
            channel = listener.coordinator()
            session = _Session(rank, deployment, listener, client, channel)
            party = Party(
                rank, deployment, own.sealing, openings, session.join, session.report, session.dealer, uploads
            )
            session.serve(party)


class _Session:
    """One connection of the coordinator."""

    def __init__(
        self, rank: int, deployment: Deployment, listener: Listener, client: ssl.SSLContext, channel: Channel
    ) -> None:
        self._rank, self._deployment, self._listener = rank, deployment, listener
        self._client, self._channel = client, channel

    def serve(self, party: Party) -> None:
        """Answer the coordinator until it hangs up."""
        channel = self._channel
        channel.reuses_memory = True  # the party copies what it keeps
        try:
            channel.send("ready")
            while True:
                answer = party.handle(channel.receive(None))
                if answer is not None:
                    channel.send(answer.kind, answer.facts, answer.payload)
        except ChannelBroken as end:
            logger.info("the coordinator is gone: %s", end)
        finally:
            party.forget()
            channel.close()

    def join(self, label: bytes) -> Mesh:
        """The other parties of a round."""
        return join(
            self._rank,
            label,
            self._deployment,
            self._listener,
            self._client,
            self._deployment.policy.timeout_s,
            self._given_up,
        )

    def dealer(self, label: bytes) -> Channel:
        """A connection to the dealer for one round.

        Raises:
            ChannelBroken: if it cannot be reached.
        """
        assert self._deployment.dealer is not None
        timeout_s = self._deployment.policy.timeout_s
        channel = connect(self._deployment.dealer, self._client, timeout_s)
        channel.send("hello", {"label": label})
        return channel

    def report(self, kind: str) -> None:
        """Tell the coordinator that its question was "heard", or that this party is still "working"."""
        self._channel.send(kind)

    def _given_up(self) -> bool:
        """Whether the coordinator has hung up: while it waits for an answer it has nothing to say."""
        return self._listener.superseded or self._channel.poll(0)
