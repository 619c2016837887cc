"""A deployment made on one machine: everyone has their own keys, privately, and nothing is written over."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime

import pytest
from cryptography import x509

from secagg.deployment.checks import DeploymentError, fingerprint
from secagg.deployment.keys import load_party_keys
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.parties_file import load_deployment
from secagg.deployment.terms import Enrolment, Policy
from tests.secagg.deployment.conftest import ADDRESSES, DEALER


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
