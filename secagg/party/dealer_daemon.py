"""The dealer as a long-lived process: correlated randomness for the norm checks of parties that it never joins.

It serves one round at a time, when every party has connected under the same label, and sees no share, no vector and
no result. Whoever runs it must not run a party: together they could open messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from secagg.core_dumps import forbid_core_dumps
from secagg.deployment.checks import fingerprint
from secagg.deployment.keys import load_dealer_keys
from secagg.deployment.parties_file import load_deployment
from secagg.errors import SottoError
from secagg.party.dealer import deal
from secagg.party.frames import ChannelBroken
from secagg.party.listener import Listener, listening_socket
from secagg.party.mesh import party_role
from secagg.party.tls import tls_context

__all__ = ["run_dealer"]

logger = logging.getLogger(__name__)


def run_dealer(
    config: Path, keys: Path, listen_fd: int | None = None, on_ready: Callable[[str], None] = lambda line: None
) -> NoReturn:
    """Be the dealer of a deployment until the process is ended.

    Args:
        config: the deployment's `parties.yaml`.
        keys: folder with the dealer's private keys.
        listen_fd: a listening socket to use instead of the dealer's address.
        on_ready: called with one line once connections are accepted.

    Raises:
        SottoError: for a deployment without a dealer, unusable keys, or an address that cannot be listened on.
    """
    forbid_core_dumps()
    deployment = load_deployment(config)
    peer = deployment.dealer
    if peer is None:
        raise SottoError(f"{config} has no dealer; make the deployment with one")
    own = load_dealer_keys(keys, deployment)
    roles = {fingerprint(party.certificate): party_role(rank) for rank, party in enumerate(deployment.parties)}
    context = tls_context(True, own.tls_certificate, own.tls_key, [party.certificate for party in deployment.parties])
    listener = Listener(listening_socket(peer, listen_fd), context, roles, deployment.policy.timeout_s)
    on_ready(f"the dealer listens on {peer.address}")
    while True:
        met = listener.meeting(list(roles.values()))
        channels = {rank: met[party_role(rank)] for rank in range(len(deployment.parties))}
        try:
            deal(channels, deployment.policy.timeout_s, max_length=deployment.policy.max_length)
        except ChannelBroken as end:
            logger.info("a round of norm checks ends: %s", end)
