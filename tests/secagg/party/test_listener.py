"""Only members get in, each in its own role; whoever else knocks is turned away and disturbs nobody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest

from secagg.deployment.checks import fingerprint
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Peer, Policy
from secagg.errors import SottoError
from secagg.party.frames import ChannelBroken
from secagg.party.listener import COORDINATOR, Listener, listening_socket
from secagg.party.tls import connect, tls_context
from tests.secagg.party.in_threads import new_folder


class House:
    """A listener for party 0 of a deployment, and contexts of everyone who may connect."""

    def __init__(self, timeout_s=3.0):
        self.folder = new_folder() / "keys"
        listening = socket.create_server(("127.0.0.1", 0))
        addresses = [("127.0.0.1", listening.getsockname()[1]), ("127.0.0.1", 2), ("127.0.0.1", 3)]
        self.deployment = create_deployment(self.folder, addresses, Policy())
        self.peer, *others = self.deployment.parties
        roles = {fingerprint(other.certificate): f"party {rank}" for rank, other in enumerate(others, 1)}
        roles[fingerprint(self.deployment.coordinator)] = COORDINATOR
        trusted = [*(other.certificate for other in others), self.deployment.coordinator]
        self.listener = Listener(listening, self.context("party-0", trusted, True), roles, timeout_s)

    def context(self, name, trusted=None, server=False, folder=None):
        keys = (folder or self.folder) / name
        return tls_context(server, keys / "certificate.pem", keys / "tls-key.pem", trusted or [self.peer.certificate])

    def enter(self, name, label=b"round", context=None):
        channel = connect(self.peer, context or self.context(name), 3)
        channel.send("hello", {"label": label})
        return channel


@pytest.fixture
def house():
    house = House()
    yield house
    house.listener.close()


def works(house):
    """A coordinator gets in and its words arrive."""
    outside = house.enter("coordinator")
    inside = house.listener.coordinator()
    outside.send("word", {"n": 1})
    assert inside.receive(3).facts == {"n": 1}
    return outside, inside


def test_a_coordinators_newer_connection_replaces_the_older_one(house):
    old_outside, old_inside = works(house)
    new_outside, new_inside = works(house)
    with pytest.raises(ChannelBroken):
        old_inside.receive(3)
    with pytest.raises(ChannelBroken):
        old_outside.receive(3)
    new_inside.send("still here")
    assert new_outside.receive(3).kind == "still here"
    assert not house.listener.superseded
    house.enter("coordinator")
    deadline = time.monotonic() + 5
    while not house.listener.superseded:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_peer_is_handed_out_under_its_label_alone(house):
    house.enter("party-1", b"other round")
    with pytest.raises(ChannelBroken, match="party 1 did not join within 0.3 s"):
        house.listener.peer("party 1", b"round", 0.3, lambda: False)
    outside = house.enter("party-1", b"round")
    inside = house.listener.peer("party 1", b"round", 3, lambda: False)
    outside.send("hi")
    assert inside.receive(3).kind == "hi"


def test_nobody_waits_for_a_peer_once_the_round_is_given_up(house):
    started = time.monotonic()
    with pytest.raises(ChannelBroken, match="the coordinator has gone"):
        house.listener.peer("party 1", b"round", 30, lambda: True)
    assert time.monotonic() - started < 5


def test_a_meeting_is_complete_when_all_wait_under_one_label(house):
    found = []
    waiter = threading.Thread(target=lambda: found.append(house.listener.meeting(["party 1", "party 2"])), daemon=True)
    waiter.start()
    house.enter("party-1", b"first")
    house.enter("party-2", b"second")
    time.sleep(0.3)
    assert not found
    house.enter("party-1", b"second")
    waiter.join(5)
    assert set(found[0]) == {"party 1", "party 2"}


def test_strangers_and_nonsense_are_turned_away_and_the_next_member_gets_in(house, caplog):
    strangers = House()
    address = (house.peer.host, house.peer.port)
    with pytest.raises(ChannelBroken):  # a certificate that is not in the deployment; seen when the answer is read
        house.enter("", context=house.context("coordinator", folder=strangers.folder)).receive(3)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ChannelBroken):  # no certificate at all
        house.enter("", context=bare).receive(3)
    old = house.context("coordinator")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with pytest.raises(ChannelBroken, match="no TLS handshake"):
        house.enter("", context=old)
    for noise in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff"):
        with socket.create_connection(address, 3) as plain, contextlib.suppress(OSError):  # hung up on, maybe early
            plain.sendall(noise)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1000):
                pass
    member = connect(house.peer, house.context("party-1"), 3)
    member.send("hello", {"label": 7})  # a member that does not say what it wants
    with pytest.raises(ChannelBroken):
        member.receive(3)
    works(house)
    strangers.listener.close()
    assert "refused: a connection from" in caplog.text


def test_connections_that_say_nothing_hold_up_nobody(house):
    address = (house.peer.host, house.peer.port)
    silent = [socket.create_connection(address, 3) for _ in range(10)]
    mute = [connect(house.peer, house.context("party-1"), 3) for _ in range(3)]
    works(house)
    for end in silent:
        end.close()
    for channel in mute:
        channel.close()


def test_another_member_at_a_partys_address_is_not_taken_for_it(house):
    elsewhere = Peer(house.peer.host, house.peer.port, house.deployment.parties[1].certificate)
    context = house.context("coordinator", [peer.certificate for peer in house.deployment.parties])
    with pytest.raises(ChannelBroken, match="another member of the deployment answers"):
        connect(elsewhere, context, 3)


def test_an_address_that_is_taken_or_not_here_is_a_sentence(house):
    for host, port in ((house.peer.host, house.peer.port), ("192.0.2.1", 7000)):
        with pytest.raises(SottoError, match="allowed: a free address of this host"):
            listening_socket(Peer(host, port, house.peer.certificate), None)


def test_a_party_that_cannot_be_reached_is_named_by_its_address(house):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ChannelBroken, match=f"cannot be reached at 127.0.0.1:{port}"):
        connect(Peer("127.0.0.1", port, house.peer.certificate), house.context("coordinator"), 3)
