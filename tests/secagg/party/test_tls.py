"""Keys in use: real TLS handshakes between members, and none with anyone else."""

from __future__ import annotations

import socket
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from secagg.deployment.checks import fingerprint
from secagg.deployment.keys import TlsKeys, load_coordinator_keys, load_dealer_keys, load_party_keys
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Peer, Policy
from secagg.party.frames import ChannelBroken
from secagg.party.tls import accept, connect, tls_context

ADDRESSES = [("127.0.0.1", 7000), ("127.0.0.1", 7001), ("party2.example", 7002)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deployment"


@pytest.fixture
def deployment(folder):
    return create_deployment(folder, ADDRESSES, Policy(), dealer=("127.0.0.1", 7009))


def handshake(server_keys, server_trusts, client_keys, client_trusts, expected):
    """Who the server saw, or why either side hung up; `expected` is whom the client wants to reach."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = tls_context(True, server_keys.tls_certificate, server_keys.tls_key, server_trusts)
    client = tls_context(False, client_keys.tls_certificate, client_keys.tls_key, client_trusts)
    found = []

    def serve():
        try:
            channel, shown = accept(listening.accept()[0], server, 5.0)
            channel.receive(5.0)
            channel.send("seen")
            channel.close()
            found.append(shown)
        except ChannelBroken as error:
            found.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        channel = connect(Peer("127.0.0.1", listening.getsockname()[1], expected), client, 5.0)
        channel.send("hello")
        channel.receive(5.0)
        channel.close()
        failure = None
    except ChannelBroken as error:
        failure = error
    thread.join()
    listening.close()
    return found[0], failure


def test_members_shake_hands_and_know_each_other(folder, deployment):
    parties = [load_party_keys(folder / f"party-{rank}", deployment, rank) for rank in range(3)]
    members = {
        **{peer.certificate: keys for peer, keys in zip(deployment.parties, parties, strict=True)},
        deployment.coordinator: load_coordinator_keys(folder / "coordinator", deployment),
        deployment.dealer.certificate: load_dealer_keys(folder / "dealer", deployment),
    }
    for server, client in zip(members, [*members][1:] + [*members][:1], strict=True):
        seen, failure = handshake(members[server], list(members), members[client], list(members), server)
        assert failure is None
        assert seen == fingerprint(client)


def test_one_trusted_certificate_is_enough(folder, deployment):
    keys = [load_party_keys(folder / f"party-{rank}", deployment, rank) for rank in range(2)]
    pems = [peer.certificate for peer in deployment.parties]
    assert handshake(keys[0], [pems[1]], keys[1], [pems[0]], pems[0]) == (fingerprint(pems[1]), None)


def test_strangers_are_refused_at_both_ends(folder, deployment, tmp_path):
    other = create_deployment(tmp_path / "other", ADDRESSES, Policy())
    own = load_party_keys(folder / "party-0", deployment, 0)
    stranger = load_party_keys(tmp_path / "other" / "party-1", other, 1)
    members = [peer.certificate for peer in deployment.parties]
    everyone = members + [peer.certificate for peer in other.parties]
    seen, failure = handshake(own, members, stranger, everyone, members[0])
    assert isinstance(seen, ChannelBroken)
    assert isinstance(failure, ChannelBroken)
    seen, failure = handshake(stranger, everyone, own, members, members[1])
    assert isinstance(seen, ChannelBroken)
    assert isinstance(failure, ChannelBroken)


def test_a_member_cannot_stand_in_for_another(folder, deployment):
    keys = [load_party_keys(folder / f"party-{rank}", deployment, rank) for rank in range(2)]
    members = [peer.certificate for peer in deployment.parties]
    _, failure = handshake(keys[0], members, keys[1], members, members[2])
    assert "another member of the deployment answers" in str(failure)


def test_a_members_key_cannot_make_certificates_that_others_take(folder, deployment, tmp_path):
    """Party 1 signs a certificate for a key of its own choice, in its own name."""
    key = load_pem_private_key((folder / "party-1" / "tls-key.pem").read_bytes(), None)
    own = x509.load_pem_x509_certificate(deployment.parties[1].certificate.encode())
    fresh = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "new")])
    signed = x509.CertificateBuilder(
        own.subject, name, fresh.public_key(), 5, own.not_valid_before_utc, own.not_valid_after_utc
    ).sign(key, None)
    (tmp_path / "chain.pem").write_bytes(signed.public_bytes(Encoding.PEM) + own.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    members = [peer.certificate for peer in deployment.parties]
    minted = TlsKeys(tmp_path / "chain.pem", tmp_path / "key.pem")
    seen, failure = handshake(load_party_keys(folder / "party-0", deployment, 0), members, minted, members, members[0])
    assert isinstance(seen, ChannelBroken)
    assert isinstance(failure, ChannelBroken)
