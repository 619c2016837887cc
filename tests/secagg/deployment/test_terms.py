"""What a deployment may be, and that its digest stands for everything that its members must agree on."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from secagg.deployment.checks import DeploymentError, fingerprint, read_address
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Deployment, Enrolment, Peer, Policy
from secagg.errors import SottoError
from secagg.limits import MAX_LENGTH

PARTIES = tuple(new_keys(f"party-{rank}").peer(("127.0.0.1", 7000 + rank)) for rank in range(3))
COORDINATOR = new_keys("coordinator").certificate
DEALER = new_keys("dealer").peer(("127.0.0.1", 7009))
COHORT = new_keys("cohort").public
DEPLOYMENT = Deployment(PARTIES, COORDINATOR, DEALER, Enrolment(COHORT), Policy())
ROSTER = {4: b"4" * 32, 1: b"1" * 32, 9: b"9" * 32}


def certificate(key, issuer=None, ca=False, constrained=True):
    """A certificate that `sotto party init` would not make."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=9))
    if constrained:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    hashed = SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(issuer or key, hashed).public_bytes(Encoding.PEM).decode()


def test_fingerprint_is_sha256_of_the_certificates_bytes():
    lines = COORDINATOR.strip().splitlines()[1:-1]
    assert fingerprint(COORDINATOR) == hashlib.sha256(base64.b64decode("".join(lines))).hexdigest()


def test_fingerprint_does_not_depend_on_the_text_around_the_certificate():
    assert fingerprint("from: somebody\n" + COORDINATOR.replace("\n", "\r\n") + "\n\n") == fingerprint(COORDINATOR)


@pytest.mark.parametrize("text", ["", "hello", COORDINATOR[:200], COORDINATOR + PARTIES[0].certificate])
def test_fingerprint_refuses_what_is_not_one_certificate(text):
    with pytest.raises(DeploymentError, match="one PEM block"):
        fingerprint(text)


def test_errors_are_sentences_for_users():
    assert issubclass(DeploymentError, SottoError)


def test_longest_message_is_that_of_the_rounds():
    assert Policy().max_length == MAX_LENGTH
    with pytest.raises(DeploymentError, match="max_length is"):
        Policy(max_length=MAX_LENGTH + 1)


OWN = Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    "pem",
    [
        certificate(OWN, ca=True),
        certificate(OWN, constrained=False),
        certificate(OWN, issuer=Ed25519PrivateKey.generate()),
        certificate(ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["may vouch for others", "does not say that it may not", "signed by another key", "other kind of key"],
)
def test_certificates_that_are_not_one_peers_own_are_refused(pem):
    with pytest.raises(DeploymentError, match="certificate is not a peer's own certificate"):
        replace(PARTIES[0], certificate=pem)
    with pytest.raises(DeploymentError, match="coordinator is not a peer's own certificate"):
        replace(DEPLOYMENT, coordinator=pem)


def test_a_certificate_is_kept_without_the_text_around_it():
    assert replace(PARTIES[0], certificate="note\n" + PARTIES[0].certificate) == PARTIES[0]


@pytest.mark.parametrize("host", ["", "a b", "host:7", "0.0.0.0", "::", "-x", "ü", None, 7, "x" * 300, "a\nb"])
def test_hosts_that_nobody_can_connect_to_are_refused(host):
    with pytest.raises(DeploymentError, match="host is"):
        replace(PARTIES[0], host=host)


@pytest.mark.parametrize("host", ["localhost", "party0.example.org", "10.0.0.1", "::1", "my_host"])
def test_names_and_addresses_are_hosts(host):
    assert replace(PARTIES[0], host=host).host == host


@pytest.mark.parametrize("port", [0, 65536, -1, True, "7000", 7000.0, None])
def test_ports_out_of_range_are_refused(port):
    with pytest.raises(DeploymentError, match="port is"):
        replace(PARTIES[0], port=port)


@pytest.mark.parametrize("key", [b"x" * 31, b"x" * 33, "x" * 32])
def test_sealing_keys_of_another_size_are_refused(key):
    with pytest.raises(DeploymentError, match="sealing_key is .*32 bytes"):
        replace(PARTIES[0], sealing_key=key)


# Points whose product with every private key is zero: https://cr.yp.to/ecdh.html#validate
SMALL_ORDER = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_sealing_keys_that_hide_nothing_are_refused(point):
    with pytest.raises(DeploymentError, match="small order"):
        replace(PARTIES[0], sealing_key=point.to_bytes(32, "little"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7000", ("127.0.0.1", 7000)),
        ("[::1]:1", ("::1", 1)),
        ("a.example:65535", ("a.example", 65535)),
    ],
)
def test_addresses_are_read(text, expected):
    assert read_address("--address", text) == expected
    assert Peer(*expected, PARTIES[0].certificate).address == text


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":7000", "host:x", "host:0", "host:65536", "::1:7000", "[host]:7", "0.0.0.0:7", "h:٣"]
)
def test_addresses_that_are_none_are_refused(text):
    with pytest.raises(DeploymentError, match="--address is .*allowed"):
        read_address("--address", text)


def test_a_daemon_may_listen_everywhere():
    assert read_address("--listen", "0.0.0.0:7000", anywhere=True) == ("0.0.0.0", 7000)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"n_min": 0}, "n_min is 0"),
        ({"n_min": True}, "n_min is True; allowed: whole numbers"),
        ({"n_min": 2.0}, "n_min is 2.0; allowed: whole numbers"),
        ({"n_min": 11, "max_clients": 10}, "n_min is 11; allowed: 1 to 10"),
        ({"min_difference": 0}, "min_difference is 0"),
        ({"min_difference": "all"}, "min_difference is 'all'"),
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"timeout_s": -1.5}, "timeout_s is -1.5"),
        ({"timeout_s": float("nan")}, "timeout_s is not a number"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"timeout_s": "60"}, "timeout_s is '60'"),
        ({"timeout_s": True}, "timeout_s is True"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_clients": 2**24 + 1}, "max_clients is"),
    ],
)
def test_impossible_limits_are_refused(limits, sentence):
    with pytest.raises(DeploymentError) as caught:
        Policy(**limits)
    assert str(caught.value).startswith(sentence)


def test_a_timeout_in_whole_seconds_is_the_same_limit():
    assert replace(DEPLOYMENT, policy=Policy(timeout_s=60)).digest == DEPLOYMENT.digest


@pytest.mark.parametrize(("cohort", "roster"), [(None, {}), (COHORT, ROSTER)], ids=["neither", "both"])
def test_enrolment_is_a_cohort_or_a_roster(cohort, roster):
    with pytest.raises(DeploymentError, match="either a cohort key or a roster"):
        Enrolment(cohort, roster)


@pytest.mark.parametrize("client", [-1, 2**63, "7", True, None, 1.0])
def test_client_ids_that_are_none_are_refused(client):
    with pytest.raises(DeploymentError, match="a client id of the roster"):
        Enrolment(roster={client: b"x" * 32})


def test_two_clients_with_one_key_are_refused():
    with pytest.raises(DeploymentError, match="roster.5 is the key of client 2 too"):
        Enrolment(roster={5: b"x" * 32, 2: b"x" * 32})


@pytest.mark.parametrize("key", [b"x" * 31, "x" * 32, None])
def test_client_keys_of_another_size_are_refused(key):
    with pytest.raises(DeploymentError, match="roster.3 is .*32 bytes"):
        Enrolment(roster={3: key})


def changed(index, **fields):
    parties = list(PARTIES)
    parties[index] = replace(parties[index], **fields)
    return tuple(parties)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"parties": PARTIES[:1]}, "parties has 1 of them"),
        ({"parties": ()}, "parties has 0 of them"),
        ({"parties": changed(1, sealing_key=b"")}, "parties[1].sealing_key is missing"),
        ({"parties": changed(2, port=7000)}, "parties[2] has the address 127.0.0.1:7000 of parties[0]"),
        (
            {"parties": changed(2, certificate=PARTIES[1].certificate)},
            "parties[2] has the certificate of parties[1]",
        ),
        ({"parties": changed(2, sealing_key=PARTIES[0].sealing_key)}, "parties[2] has the sealing_key of parties[0]"),
        ({"coordinator": PARTIES[1].certificate}, "coordinator has the certificate of parties[1]"),
        ({"coordinator": DEALER.certificate}, "coordinator has the certificate of dealer"),
        ({"dealer": replace(DEALER, port=7001)}, "dealer has the address 127.0.0.1:7001 of parties[1]"),
        ({"dealer": replace(DEALER, sealing_key=PARTIES[0].sealing_key)}, "dealer.sealing_key is set"),
        ({"enrolment": Enrolment(roster={1: b"x" * 32})}, "the roster has 1 clients; allowed: policy.n_min (2)"),
        (
            {"enrolment": Enrolment(roster=ROSTER), "policy": Policy(max_clients=2)},
            "the roster has 3 clients; allowed: policy.n_min (2) to policy.max_clients (2)",
        ),
    ],
)
def test_deployments_that_cannot_be_are_refused(fields, sentence):
    with pytest.raises(DeploymentError) as caught:
        replace(DEPLOYMENT, **fields)
    assert str(caught.value).startswith(sentence)


OTHER = new_keys("party-0")


@pytest.mark.parametrize(
    "fields",
    [
        {"parties": changed(0, certificate=OTHER.certificate)},
        {"parties": changed(0, sealing_key=OTHER.public)},
        {"parties": PARTIES[:2]},
        {"parties": PARTIES[::-1]},
        {"coordinator": OTHER.certificate},
        {"dealer": None},
        {"dealer": replace(DEALER, certificate=OTHER.certificate)},
        {"enrolment": Enrolment(b"x" * 32)},
        {"enrolment": Enrolment(roster=ROSTER)},
        *(
            {"policy": replace(Policy(), **limit)}
            for limit in (
                {"n_min": 3},
                {"min_difference": 2},
                {"timeout_s": 61.0},
                {"max_length": 7},
                {"max_clients": 9},
            )
        ),
    ],
)
def test_every_term_is_in_the_digest(fields):
    assert replace(DEPLOYMENT, **fields).digest != DEPLOYMENT.digest


@pytest.mark.parametrize(
    "roster", [{**ROSTER, 4: b"x" * 32}, {1: ROSTER[1], 4: ROSTER[4]}, {4: ROSTER[1], 1: ROSTER[4], 9: ROSTER[9]}]
)
def test_every_client_is_in_the_digest(roster):
    enrolled = replace(DEPLOYMENT, enrolment=Enrolment(roster=ROSTER))
    assert replace(DEPLOYMENT, enrolment=Enrolment(roster=roster)).digest != enrolled.digest


def test_the_digest_is_that_of_the_terms_and_not_of_their_order_or_of_addresses():
    assert len(DEPLOYMENT.digest) == 32
    assert replace(DEPLOYMENT, parties=changed(0, host="elsewhere.example", port=1)).digest == DEPLOYMENT.digest
    one = replace(DEPLOYMENT, enrolment=Enrolment(roster=ROSTER))
    other = replace(DEPLOYMENT, enrolment=Enrolment(roster=dict(sorted(ROSTER.items()))))
    assert one.digest == other.digest
    assert one == other
