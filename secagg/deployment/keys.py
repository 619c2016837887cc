"""Private keys of a deployment's members, read from folders that only their owner can read, and checked.

Every member has a folder of its own: `certificate.pem` and `tls-key.pem` for the channels (parties, coordinator,
dealer), `sealing-key.pem` for what clients seal to a party, `signing-key.pem` for what a client sends. Nothing here
ever writes a key or prints one, and none is taken that others could have read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from secagg.deployment.checks import DeploymentError, fingerprint, read_certificate
from secagg.deployment.new_keys import CERTIFICATE, SEALING_KEY, SIGNING_KEY, TLS_KEY
from secagg.deployment.terms import Deployment

__all__ = [
    "PartyKeys",
    "TlsKeys",
    "load_coordinator_keys",
    "load_dealer_keys",
    "load_party_keys",
    "load_signing_key",
]

_MAX_KEY_BYTES = 2**16


@dataclass(frozen=True)
class TlsKeys:
    """What the coordinator, the dealer or a party proves itself with.

    Attributes:
        tls_certificate, tls_key: PEM files.
    """

    tls_certificate: Path
    tls_key: Path


@dataclass(frozen=True)
class PartyKeys(TlsKeys):
    """What a party proves itself with and opens its shares with.

    Attributes:
        sealing: private half of the party's sealing key.
    """

    sealing: X25519PrivateKey


def load_party_keys(folder: Path, deployment: Deployment, rank: int) -> PartyKeys:
    """The keys of the party with this rank.

    Raises:
        DeploymentError: one sentence, if a file is missing, damaged, readable by others, or not this party's.
    """
    peers = deployment.parties
    if not 0 <= rank < len(peers):
        raise DeploymentError(f"there is no party {rank} in this deployment; its parties are 0 to {len(peers) - 1}")
    tls = _tls(folder, peers[rank].certificate, f"party {rank}")
    sealing: X25519PrivateKey = _private_key(folder / SEALING_KEY, X25519PrivateKey)
    if sealing.public_key().public_bytes_raw() != peers[rank].sealing_key:
        raise DeploymentError(f"{folder / SEALING_KEY} does not belong to party {rank}'s public key in the deployment")
    return PartyKeys(tls.tls_certificate, tls.tls_key, sealing)


def load_coordinator_keys(folder: Path, deployment: Deployment) -> TlsKeys:
    """The coordinator's keys.

    Raises:
        DeploymentError: one sentence, if a file is missing, damaged, readable by others, or not the coordinator's.
    """
    return _tls(folder, deployment.coordinator, "the coordinator")


def load_dealer_keys(folder: Path, deployment: Deployment) -> TlsKeys:
    """The dealer's keys.

    Raises:
        DeploymentError: one sentence, if there is no dealer, or a file is missing, damaged, readable by others, or
            not the dealer's.
    """
    if deployment.dealer is None:
        raise DeploymentError("this deployment has no dealer; norm checks need one")
    return _tls(folder, deployment.dealer.certificate, "the dealer")


def load_signing_key(
    folder: Path, deployment: Deployment | None = None, client: int | None = None
) -> Ed25519PrivateKey:
    """The key that a client, or a simulated cohort, signs its messages with.

    Args:
        folder: that holds it.
        deployment: if given, the key must be the one enrolled there.
        client: whose key it must be; None: the cohort's.

    Raises:
        DeploymentError: one sentence, if the file is missing, damaged, readable by others, or not the enrolled one.
    """
    key: Ed25519PrivateKey = _private_key(folder / SIGNING_KEY, Ed25519PrivateKey)
    if deployment is not None:
        enrolment = deployment.enrolment
        enrolled = enrolment.cohort if client is None else enrolment.roster.get(client)
        whose = "the cohort" if client is None else f"client {client}"
        if enrolled is None:
            raise DeploymentError(f"{whose} is not enrolled in this deployment")
        if key.public_key().public_bytes_raw() != enrolled:
            raise DeploymentError(f"{folder / SIGNING_KEY} does not belong to {whose}'s key in the deployment")
    return key


def _tls(folder: Path, certificate: str, whose: str) -> TlsKeys:
    """A certificate and its key, after checking that they are `whose`."""
    shown, key_file = folder / CERTIFICATE, folder / TLS_KEY
    own = read_certificate(str(shown), _read(shown).decode(errors="replace"))
    if fingerprint(own.public_bytes(Encoding.PEM).decode()) != fingerprint(certificate):
        raise DeploymentError(f"{shown} is not the certificate of {whose} in the deployment")
    private: Ed25519PrivateKey = _private_key(key_file, Ed25519PrivateKey)
    if private.public_key() != own.public_key():
        raise DeploymentError(f"{key_file} does not belong to the certificate of {whose} beside it")
    return TlsKeys(shown, key_file)


def _private_key(path: Path, kind: Any) -> Any:
    content = _read(path, private=True)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, kind):
        wanted = kind.__name__.removesuffix("PrivateKey")
        raise DeploymentError(f"{path} is not a private key; allowed: {wanted}, PEM, without a password")
    return key


def _read(path: Path, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            # Asked of the open file: between a look at its name and the reading it could become another.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & 0o077:
                raise DeploymentError(f"{path} can be used by others (mode {mode:o}); allowed: 600 (chmod 600 {path})")
            content = file.read(_MAX_KEY_BYTES + 1)
    except FileNotFoundError:
        raise DeploymentError(f"{path} does not exist; make keys with `sotto party init`") from None
    except OSError as error:
        raise DeploymentError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_KEY_BYTES:
        raise DeploymentError(f"{path} is larger than {_MAX_KEY_BYTES // 1024} KiB; it holds no key")
    return content
