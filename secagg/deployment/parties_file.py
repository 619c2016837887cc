"""`parties.yaml`: a deployment as the file that its members, clients and coordinator all hold a copy of.

Text in, a checked `Deployment` out, and back. The file is public; comparing `sotto party show` over another way
(telephone, paper) is what makes it trustworthy. It must never hold a private key: one that does is refused.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from secagg.deployment.checks import DeploymentError, read_key, shown
from secagg.deployment.strict_yaml import check_keys, check_mapping, kind, read_yaml, write_yaml
from secagg.deployment.terms import Deployment, Enrolment, Peer, Policy

__all__ = ["PARTIES_FILE", "load_deployment", "peer_from_file", "peer_to_file", "read_roster", "save_deployment"]

PARTIES_FILE = "parties.yaml"
_VERSION = 1


def load_deployment(path: Path) -> Deployment:
    """The deployment that a file describes.

    Raises:
        DeploymentError: one sentence naming the file and the key, for anything that is missing, unknown, given twice,
            of a wrong type, or impossible.
    """
    document = read_yaml(path)
    try:
        check_keys(document, ["version", "parties", "coordinator", "enrolment"], ["dealer", "policy"], "")
        if type(document["version"]) is not int or document["version"] != _VERSION:
            raise DeploymentError(f"version is {shown(document['version'])}; allowed: {_VERSION}")
        if not isinstance(document["parties"], list):
            raise DeploymentError(f"parties is {kind(document['parties'])}; it must be a list, party 0 first")
        parties = [peer_from_file(entry, f"parties[{rank}]", True) for rank, entry in enumerate(document["parties"])]
        dealer = document.get("dealer")
        return Deployment(
            parties=tuple(parties),
            coordinator=document["coordinator"],
            dealer=None if dealer is None else peer_from_file(dealer, "dealer", False),
            enrolment=_enrolment(check_mapping(document["enrolment"], "enrolment")),
            policy=_policy(check_mapping(document.get("policy", {}), "policy")),
        )
    except DeploymentError as error:
        raise DeploymentError(f"{path}: {error}") from None


def save_deployment(deployment: Deployment, path: Path) -> None:
    """Write a deployment so that `load_deployment` gives it back.

    Raises:
        DeploymentError: if the file exists or cannot be written.
    """
    enrolment = deployment.enrolment
    senders: dict[str, Any] = (
        {"roster": {client: key.hex() for client, key in enrolment.roster.items()}}
        if enrolment.cohort is None
        else {"cohort": enrolment.cohort.hex()}
    )
    document = {
        "version": _VERSION,
        "parties": [peer_to_file(peer) for peer in deployment.parties],
        "coordinator": deployment.coordinator,
        "dealer": None if deployment.dealer is None else peer_to_file(deployment.dealer),
        "enrolment": senders,
        "policy": asdict(deployment.policy),
    }
    write_yaml(document, path)


def read_roster(path: Path) -> dict[int, bytes]:
    """A file of `client id: public key` lines, 64 hex digits a key.

    Raises:
        DeploymentError: one sentence naming the file and the client.
    """
    document = read_yaml(path)
    try:
        return dict(Enrolment(roster=_roster(document)).roster)
    except DeploymentError as error:
        raise DeploymentError(f"{path}: {error}") from None


def peer_from_file(entry: object, where: str, sealed: bool) -> Peer:
    """A peer's section of a file; `sealed` if messages are sealed to it. Raises `DeploymentError` naming `where`."""
    section = check_mapping(entry, where)
    needed = ["host", "port", "certificate", *(["sealing_key"] if sealed else [])]
    check_keys(section, needed, [], f"{where}.")
    key = read_key(f"{where}.sealing_key", section["sealing_key"]) if sealed else b""
    try:
        return Peer(section["host"], section["port"], section["certificate"], key)
    except DeploymentError as error:
        raise DeploymentError(f"{where}.{error}") from None


def peer_to_file(peer: Peer) -> dict[str, Any]:
    """The section that `peer_from_file` reads."""
    section = {"host": peer.host, "port": peer.port, "certificate": peer.certificate}
    return {**section, "sealing_key": peer.sealing_key.hex()} if peer.sealing_key else section


def _enrolment(section: dict[Any, Any]) -> Enrolment:
    check_keys(section, [], ["cohort", "roster"], "enrolment.")
    cohort = None if section.get("cohort") is None else read_key("enrolment.cohort", section["cohort"])
    roster = _roster(check_mapping(section.get("roster", {}), "enrolment.roster"))
    try:
        return Enrolment(cohort, roster)
    except DeploymentError as error:
        raise DeploymentError(f"enrolment: {error}") from None


def _roster(section: dict[Any, Any]) -> dict[int, bytes]:
    return {client: read_key(f"client {shown(client)}", key) for client, key in section.items()}


def _policy(section: dict[Any, Any]) -> Policy:
    check_keys(section, [], [entry.name for entry in fields(Policy)], "policy.")
    try:
        return Policy(**section)
    except DeploymentError as error:
        raise DeploymentError(f"policy.{error}") from None
