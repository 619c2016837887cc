"""Mutual TLS 1.3 between parties, coordinator and dealer, with pinned certificates and nothing else trusted.

There is no certificate authority: each side accepts exactly the certificates in the deployment file, and then
checks that the one presented belongs to the role it expects. Host names are not looked at.

Ours and not independently reviewed.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from secagg.deployment.checks import fingerprint
from secagg.deployment.terms import Peer
from secagg.party.frames import Channel, ChannelBroken

__all__ = ["accept", "connect", "tls_context"]

# Seconds of silence before the first probe, seconds between probes, probes without an answer.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


def tls_context(server: bool, certificate: Path, key: Path, trusted: Sequence[str]) -> ssl.SSLContext:
    """A context that shows `certificate` and accepts only the PEM certificates in `trusted`.

    Args:
        server: whether it accepts connections or makes them.
        certificate: own certificate, a PEM file.
        key: its private key, a PEM file.
        trusted: certificates of those that may be at the other end.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata="\n".join(trusted))
    if server:
        context.num_tickets = 0  # nothing is ever resumed: every connection proves both keys
    return context


def connect(peer: Peer, context: ssl.SSLContext, timeout_s: float) -> Channel:
    """A channel to `peer`.

    Raises:
        ChannelBroken: if it cannot be reached, or whoever answers does not hold the key of the peer's certificate.
    """
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout_s)
    except OSError as error:
        raise ChannelBroken(f"cannot be reached at {peer.address}: {error.strerror or error}") from None
    secured, shown = _handshake(plain, context, False)
    if shown != fingerprint(peer.certificate):
        secured.close()
        raise ChannelBroken(f"at {peer.address} another member of the deployment answers")
    return Channel(secured, timeout_s)


def accept(plain: socket.socket, context: ssl.SSLContext, timeout_s: float) -> tuple[Channel, str]:
    """The channel of an incoming connection, and the fingerprint of the certificate at its other end.

    Raises:
        ChannelBroken: if the handshake fails or takes longer than `timeout_s`.
    """
    plain.settimeout(timeout_s)
    secured, shown = _handshake(plain, context, True)
    return Channel(secured, timeout_s), shown


def _handshake(plain: socket.socket, context: ssl.SSLContext, server: bool) -> tuple[ssl.SSLSocket, str]:
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A host that vanished without a word is noticed between rounds too: after a minute.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            plain.setsockopt(socket.IPPROTO_TCP, option, value)
        secured = context.wrap_socket(plain, server_side=server)
    except (OSError, ValueError) as error:
        plain.close()
        raise ChannelBroken(f"no TLS handshake: {error}") from None
    shown = secured.getpeercert(binary_form=True)
    if shown is None:
        secured.close()
        raise ChannelBroken("no certificate at the other end")
    return secured, hashlib.sha256(shown).hexdigest()
