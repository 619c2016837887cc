"""Keys: made once and privately, and refused when they are not the deployment's own."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from secagg.deployment.checks import DeploymentError, fingerprint
from secagg.deployment.keys import load_coordinator_keys, load_dealer_keys, load_party_keys, load_signing_key
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.parties_file import load_deployment
from secagg.deployment.terms import Enrolment, Policy

ADDRESSES = [("127.0.0.1", 7000), ("127.0.0.1", 7001), ("party2.example", 7002)]
DEALER = ("127.0.0.1", 7009)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deployment"


@pytest.fixture
def deployment(folder):
    return create_deployment(folder, ADDRESSES, Policy(n_min=3), dealer=DEALER)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_file_describes_what_was_made(folder, deployment):
    assert load_deployment(folder / "parties.yaml") == deployment
    assert [(peer.host, peer.port) for peer in deployment.parties] == ADDRESSES
    assert (deployment.dealer.host, deployment.dealer.port) == DEALER
    assert deployment.policy == Policy(n_min=3)


def test_every_member_has_its_keys_and_nobody_elses(folder, deployment):
    channel = {"certificate.pem", "tls-key.pem"}
    found = {path.name: {file.name for file in path.iterdir()} for path in folder.iterdir() if path.is_dir()}
    assert found == {
        **{f"party-{rank}": channel | {"sealing-key.pem"} for rank in range(3)},
        "coordinator": channel,
        "dealer": channel,
        "cohort": {"signing-key.pem"},
    }


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_private_files_are_their_owners_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        create_deployment(tmp_path / "deployment", ADDRESSES, Policy())
    finally:
        os.umask(before)
    for path in (tmp_path / "deployment").rglob("*"):
        if path.parent == tmp_path / "deployment" and path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        elif path.name != "parties.yaml":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_private_key_is_in_the_public_file(folder, deployment):
    public = (folder / "parties.yaml").read_text()
    assert "PRIVATE" not in public
    for rank in range(3):
        sealing = load_party_keys(folder / f"party-{rank}", deployment, rank).sealing
        assert sealing.private_bytes_raw().hex() not in public


def test_keys_are_new_each_time(tmp_path):
    made = [create_deployment(tmp_path / name, ADDRESSES, Policy()) for name in "ab"]
    assert not set(map(fingerprint, (peer.certificate for peer in made[0].parties))) & {
        fingerprint(peer.certificate) for peer in made[1].parties
    }
    assert made[0].enrolment != made[1].enrolment


@pytest.mark.parametrize("left", ["parties.yaml", "party-1", "coordinator", "cohort", "dealer"])
def test_nothing_is_overwritten(folder, deployment, left):
    for path in list(folder.iterdir()):
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(folder)
    with pytest.raises(DeploymentError, match=f"{left} exists and is not overwritten"):
        create_deployment(folder, ADDRESSES, Policy(), dealer=DEALER)
    assert contents(folder) == before
    assert [path.name for path in folder.iterdir()] == [left]


def test_one_members_keys_are_not_overwritten(tmp_path):
    new_keys("party-0").write(tmp_path / "party-0")
    before = contents(tmp_path)
    with pytest.raises(DeploymentError, match="party-0 exists and is not overwritten"):
        new_keys("party-0").write(tmp_path / "party-0")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"addresses": ADDRESSES[:1]}, "parties has 1 of them"),
        ({"addresses": [ADDRESSES[0]] * 2}, r"parties\[1\] has the address"),
        ({"addresses": [("0.0.0.0", 1), ADDRESSES[0]]}, "host is 0.0.0.0"),
        ({"roster": {1: b"x"}}, "roster.1 is 1 bytes"),
        ({"roster": {1: b"x" * 32}}, "the roster has 1 clients"),
    ],
)
def test_an_impossible_deployment_writes_nothing(folder, arguments, sentence):
    with pytest.raises(DeploymentError, match=sentence):
        create_deployment(folder, **{"addresses": ADDRESSES, "policy": Policy(), **arguments})
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeploymentError, match="file.* cannot be made: Not a directory"):
        create_deployment(tmp_path / "file" / "deployment", ADDRESSES, Policy())


def test_a_roster_needs_no_cohort_key(folder):
    roster = {3: b"3" * 32, 5: b"5" * 32}
    assert create_deployment(folder, ADDRESSES, Policy(), roster).enrolment == Enrolment(roster=roster)
    assert not (folder / "cohort").exists()


def test_certificates_last_and_vouch_for_nobody(deployment):
    for peer in (*deployment.parties, deployment.dealer):
        certificate = x509.load_pem_x509_certificate(peer.certificate.encode())
        assert certificate.not_valid_before_utc < datetime.now(UTC)
        assert certificate.not_valid_after_utc.year == 9999
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_sealing_and_signing_keys_are_the_private_halves(folder, deployment):
    for rank, peer in enumerate(deployment.parties):
        other = X25519PrivateKey.generate()
        sealing = load_party_keys(folder / f"party-{rank}", deployment, rank).sealing
        assert sealing.exchange(other.public_key()) == other.exchange(
            X25519PublicKey.from_public_bytes(peer.sealing_key)
        )
    signed = load_signing_key(folder / "cohort").sign(b"message")
    Ed25519PublicKey.from_public_bytes(deployment.enrolment.cohort).verify(signed, b"message")


def test_a_clients_signing_key_is_checked_against_the_roster(tmp_path):
    made = {client: new_keys(f"client-{client}") for client in (2, 7)}
    for client, keys in made.items():
        keys.write(tmp_path / f"client-{client}")
    roster = {client: keys.public for client, keys in made.items()}
    deployment = create_deployment(tmp_path / "deployment", ADDRESSES, Policy(), roster)
    key = load_signing_key(tmp_path / "client-7", deployment, 7)
    assert key.public_key().public_bytes_raw() == roster[7]
    for folder, client, sentence in (
        ("client-2", 7, "does not belong to client 7's key"),
        ("client-2", 3, "client 3 is not enrolled"),
        ("client-2", None, "the cohort is not enrolled"),
    ):
        with pytest.raises(DeploymentError, match=sentence):
            load_signing_key(tmp_path / folder, deployment, client)


def load_everything(folder, deployment):
    load_party_keys(folder / "party-0", deployment, 0)
    load_coordinator_keys(folder / "coordinator", deployment)
    load_dealer_keys(folder / "dealer", deployment)
    load_signing_key(folder / "cohort", deployment)


PRIVATE = ["party-0/tls-key.pem", "party-0/sealing-key.pem", "coordinator/tls-key.pem", "dealer/tls-key.pem"]
PRIVATE += ["cohort/signing-key.pem"]
FILES = [*PRIVATE, "party-0/certificate.pem", "coordinator/certificate.pem", "dealer/certificate.pem"]


def refusal(folder, deployment, file):
    """The sentence about one file when everything is loaded."""
    with pytest.raises(DeploymentError) as caught:
        load_everything(folder, deployment)
    sentence = str(caught.value)
    assert sentence.startswith(str(folder / file))
    assert "\n" not in sentence
    return sentence.removeprefix(str(folder / file)).strip()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
@pytest.mark.parametrize("file", PRIVATE)
def test_private_keys_that_others_can_use_are_refused(folder, deployment, file, mode):
    (folder / file).chmod(mode)
    assert refusal(folder, deployment, file).startswith(f"can be used by others (mode {mode:o}); allowed: 600")


def test_stricter_permissions_are_welcome(folder, deployment):
    for file in FILES:
        (folder / file).chmod(0o400)
    load_everything(folder, deployment)


@pytest.mark.parametrize("file", FILES)
def test_missing_keys_are_told(folder, deployment, file):
    (folder / file).unlink()
    assert refusal(folder, deployment, file) == "does not exist; make keys with `sotto party init`"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_damaged_keys_are_told(folder, deployment, file, content):
    (folder / file).write_bytes(content)
    kind = "certificate" if file.endswith("certificate.pem") else "private key"
    assert refusal(folder, deployment, file).startswith(f"is not a {kind}; allowed:")


@pytest.mark.parametrize("file", FILES)
def test_a_huge_file_is_no_key(folder, deployment, file):
    (folder / file).write_bytes(b" " * 70_000)
    assert refusal(folder, deployment, file) == "is larger than 64 KiB; it holds no key"


def test_a_folder_is_no_key(folder, deployment):
    (folder / "cohort/signing-key.pem").unlink()
    (folder / "cohort/signing-key.pem").mkdir(0o700)
    assert refusal(folder, deployment, "cohort/signing-key.pem") == "cannot be read: Is a directory"


def other_keys():
    pkcs8, plain = (Encoding.PEM, PrivateFormat.PKCS8), NoEncryption()
    password = BestAvailableEncryption(b"secret")
    return {
        "rsa": generate_private_key(65537, 2048).private_bytes(*pkcs8, plain),
        "locked ed25519": Ed25519PrivateKey.generate().private_bytes(*pkcs8, password),
        "locked x25519": X25519PrivateKey.generate().private_bytes(*pkcs8, password),
    }


@pytest.mark.parametrize("file", PRIVATE)
def test_keys_of_another_kind_or_with_a_password_are_refused(folder, deployment, file):
    for content in other_keys().values():
        (folder / file).write_bytes(content)
        assert refusal(folder, deployment, file).startswith("is not a private key; allowed:")


@pytest.mark.parametrize("file", FILES)
def test_keys_of_another_deployment_are_refused(folder, deployment, file, tmp_path):
    create_deployment(tmp_path / "other", ADDRESSES, Policy(), dealer=DEALER)
    shutil.copy(tmp_path / "other" / file, folder / file)
    assert refusal(folder, deployment, file).startswith(("does not belong to", "is not the certificate of"))


def test_keys_of_another_rank_are_refused(folder, deployment):
    with pytest.raises(DeploymentError, match="is not the certificate of party 1"):
        load_party_keys(folder / "party-0", deployment, 1)
    with pytest.raises(DeploymentError, match="is not the certificate of the coordinator"):
        load_coordinator_keys(folder / "dealer", deployment)


@pytest.mark.parametrize("rank", [-1, 3])
def test_ranks_that_do_not_exist_are_refused(folder, deployment, rank):
    with pytest.raises(DeploymentError, match=f"no party {rank} in this deployment; its parties are 0 to 2"):
        load_party_keys(folder / "party-0", deployment, rank)


def test_a_deployment_without_a_dealer_has_no_dealers_keys(folder, deployment):
    with pytest.raises(DeploymentError, match="no dealer"):
        load_dealer_keys(folder / "dealer", replace(deployment, dealer=None))
