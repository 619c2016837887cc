"""Fresh private keys of one member: made in memory, written once into a folder that only its owner can enter.

A party, the coordinator and the dealer get a TLS key and a self-signed certificate, a party a sealing key beside it,
a client or a cohort a signing key. Randomness is the operating system's. Nothing here ever writes over a file.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secagg.deployment.new_files import make_folder, write_new
from secagg.deployment.terms import Peer

__all__ = ["CERTIFICATE", "SEALING_KEY", "SIGNING_KEY", "TLS_KEY", "NewKeys", "new_keys"]

CERTIFICATE, TLS_KEY = "certificate.pem", "tls-key.pem"
SEALING_KEY, SIGNING_KEY = "sealing-key.pem", "signing-key.pem"

_CLOCK_SKEW = datetime.timedelta(days=1)
# "No well-defined expiration" (RFC 5280, 4.1.2.5): what ends a certificate here is another `parties.yaml`.
_NEVER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


@dataclass(frozen=True, repr=False)
class NewKeys:
    """One member's keys before they are written.

    Attributes:
        files: names and contents, in the order of writing.
        certificate: PEM, "" for clients.
        public: 32 bytes: a party's sealing key, a client's or cohort's verification key; b"" for the others.
    """

    files: Mapping[str, bytes]
    certificate: str
    public: bytes

    def peer(self, address: tuple[str, int]) -> Peer:
        """The public side of a party or dealer."""
        return Peer(*address, self.certificate, self.public)

    def write(self, folder: Path) -> None:
        """Write them into a new folder that only its owner can enter.

        Raises:
            DeploymentError: if the folder exists or cannot be made.
        """
        make_folder(folder.parent, private=False)
        make_folder(folder, private=True)
        for name, content in self.files.items():
            write_new(folder / name, content, 0o600)


def new_keys(name: str) -> NewKeys:
    """Keys for one member, from the operating system's randomness.

    Args:
        name: `party-0`, `party-1`, ..., `coordinator`, `dealer`, `cohort` or `client-ID`; what comes before the dash
            decides which keys.
    """
    role = name.partition("-")[0]
    if role in ("cohort", "client"):
        signing = Ed25519PrivateKey.generate()
        return NewKeys({SIGNING_KEY: _pem(signing)}, "", signing.public_key().public_bytes_raw())
    tls = Ed25519PrivateKey.generate()
    certificate = _certificate(tls, name)
    files = {TLS_KEY: _pem(tls), CERTIFICATE: certificate.encode()}
    if role != "party":
        return NewKeys(files, certificate, b"")
    sealing = X25519PrivateKey.generate()
    return NewKeys({**files, SEALING_KEY: _pem(sealing)}, certificate, sealing.public_key().public_bytes_raw())


def _pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate(key: Ed25519PrivateKey, name: str) -> str:
    """Self-signed, for both ends of a connection, unable to vouch for anyone else; PEM."""
    # TLS libraries look certificates up by name, so each gets one of its own.
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sotto {name} {os.urandom(8).hex()}")])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), serial)
    builder = builder.not_valid_before(datetime.datetime.now(datetime.UTC) - _CLOCK_SKEW).not_valid_after(_NEVER)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (purposes, False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, None).public_bytes(Encoding.PEM).decode()
