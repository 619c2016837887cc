"""Keys that are not the deployment's own, or not their owner's alone, are refused in a sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from secagg.deployment.checks import DeploymentError
from secagg.deployment.keys import load_coordinator_keys, load_dealer_keys, load_party_keys, load_signing_key
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy
from tests.secagg.deployment.conftest import ADDRESSES, DEALER


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
