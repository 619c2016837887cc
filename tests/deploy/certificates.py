"""The SuperLink's certificate and the authority behind it, as an operator would make them with openssl."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def _pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_tls(folder, address):
    """`ca.crt`, and `server.pem` and `server.key` of a SuperLink at the IP `address`."""
    # Its own processes connect to it as 127.0.0.1 when it listens on 0.0.0.0.
    addresses = {address, "127.0.0.1"}
    now = datetime.datetime.now(datetime.UTC)

    def build(name, key, issuer_name, issuer_key, *extensions):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)])
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        return builder.add_extension(own, False).sign(issuer_key, hashes.SHA256())

    usage = [False] * 9
    sign = x509.KeyUsage(*usage[:5], True, True, *usage[7:])
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = build(
        "test authority",
        authority,
        "test authority",
        authority,
        (x509.BasicConstraints(True, None), True),
        (sign, True),
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in sorted(addresses)])
    leaf = build(
        "superlink", server, "test authority", authority, (x509.BasicConstraints(False, None), True), (names, False)
    )
    (folder / "ca.crt").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(_pem(server))
