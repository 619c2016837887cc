"""What single values of a deployment may be: hosts, numbers, public keys, certificates.

Each check takes the value's name in the file and the value; it gives the value as it is used from there on, or raises
a sentence that begins with the name. A value that is shown is cut and escaped first: it may come from a stranger.
"""

from __future__ import annotations

import ipaddress
import math
import operator
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from secagg.errors import AggregationError

__all__ = [
    "DeploymentError",
    "check_host",
    "check_key",
    "check_sealing_key",
    "fingerprint",
    "own_certificate",
    "read_address",
    "read_certificate",
    "read_key",
    "shown",
    "whole",
]

_PUBLIC_KEY_BYTES = 32
_SHOWN = 60
_UNUSABLE = (InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension, x509.ExtensionNotFound)
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", re.ASCII)
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


class DeploymentError(AggregationError):
    """A deployment's file, key or command cannot be used as it is."""


def fingerprint(certificate: str) -> str:
    """SHA-256 of the DER form of a PEM certificate, in hexadecimal.

    Raises:
        DeploymentError: if it is not exactly one certificate.
    """
    return read_certificate("the certificate", certificate).fingerprint(SHA256()).hex()


def read_certificate(name: str, pem: object) -> x509.Certificate:
    """The certificate in a PEM text that holds exactly one."""
    # TLS libraries trust every block of such a text, so a second one would be a trusted stranger.
    if isinstance(pem, str) and pem.count("-----BEGIN") == 1:
        try:
            return x509.load_pem_x509_certificate(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            pass
    raise DeploymentError(f"{name} is not a certificate; allowed: one PEM block, -----BEGIN CERTIFICATE-----")


def own_certificate(name: str, pem: object) -> str:
    """The certificate in canonical PEM, if it can only ever speak for its own holder."""
    certificate = read_certificate(name, pem)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usable = isinstance(certificate.public_key(), Ed25519PublicKey) and not constraints.ca
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, *_UNUSABLE):
        usable = False
    if not usable:
        raise DeploymentError(
            f"{name} is not a peer's own certificate; allowed: Ed25519, self-signed, CA:FALSE, as `sotto party init` "
            "makes them"
        )
    return certificate.public_bytes(Encoding.PEM).decode()


def check_host(host: object, anywhere: bool = False) -> None:
    """Refuse what is no host, and unless `anywhere` what others cannot connect to."""
    if isinstance(host, str):
        try:
            if ipaddress.ip_address(host).is_unspecified and not anywhere:
                raise DeploymentError(f"host is {host}, which nobody can connect to; allowed: an address or a name")
            return
        except ValueError:
            if _HOST_NAME.fullmatch(host):
                return
    raise DeploymentError(f"host is {shown(host)}; allowed: a host name or an IP address")


def read_address(name: str, text: str, anywhere: bool = False) -> tuple[str, int]:
    """Host and port of `host:port`, with brackets around an IPv6 host: `[::1]:7000`.

    `anywhere` allows 0.0.0.0 and ::, which can be listened on.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not _PORT.fullmatch(port) or bracketed != (":" in host):
        raise DeploymentError(f"{name} is {shown(text)}; allowed: host:port, for example 192.0.2.7:7000 or [::1]:7000")
    host = host[1:-1] if bracketed else host
    try:
        check_host(host, anywhere)
        return host, whole("port", int(port), 1, 65535)
    except DeploymentError as error:
        raise DeploymentError(f"{name} is {shown(text)}, whose {error}") from None


def check_key(name: str, key: object) -> bytes:
    """A public key, by its size."""
    if not isinstance(key, bytes) or len(key) != _PUBLIC_KEY_BYTES:
        size = f"{len(key)} bytes" if isinstance(key, bytes) else f"a {type(key).__name__}"
        raise DeploymentError(f"{name} is {size}; allowed: a public key of {_PUBLIC_KEY_BYTES} bytes")
    return key


def read_key(name: str, text: object) -> bytes:
    """The bytes of a public key in hexadecimal."""
    if not isinstance(text, str) or not _HEX_KEY.fullmatch(text):
        raise DeploymentError(f"{name} is {shown(text)}; allowed: a public key as {2 * _PUBLIC_KEY_BYTES} hex digits")
    return bytes.fromhex(text)


def check_sealing_key(name: str, key: object) -> bytes:
    """A public key that only its holder can open messages to: not one of the few whose every secret is zero."""
    found = check_key(name, key)
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(found))
    except ValueError:
        raise DeploymentError(
            f"{name} is a point of small order, to which nothing can be sealed; allowed: an X25519 public key"
        ) from None
    return found


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number between `least` and `most`, both allowed."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise DeploymentError(f"{name} is {shown(value)}; allowed: whole numbers") from None
    if not least <= number <= most:
        raise DeploymentError(f"{name} is {number}; allowed: {least} to {most}")
    return number


def shown(value: object) -> str:
    """A value for a sentence: never long, never the inside of a container."""
    if isinstance(value, float):
        return "not a number" if math.isnan(value) else repr(value)
    if isinstance(value, str | int) or value is None:
        text = repr(value)
        return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"a {type(value).__name__}"
