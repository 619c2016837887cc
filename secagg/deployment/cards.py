"""Cards: what one organisation hands to the others, made beside its own private keys, and their joining.

A card is a small public YAML file: role, address, certificate, public key. `assemble` makes one `Deployment` of them.
Cards come over channels that nobody vouches for, so every member compares the digest of the result with the others;
a card must never hold a private key, and one that does is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secagg.deployment.checks import DeploymentError, own_certificate, read_key, shown, whole
from secagg.deployment.parties_file import peer_from_file, peer_to_file
from secagg.deployment.strict_yaml import check_keys, read_yaml, write_yaml
from secagg.deployment.terms import Deployment, Enrolment, Peer, Policy

__all__ = [
    "Card",
    "ClientCard",
    "CohortCard",
    "CoordinatorCard",
    "DealerCard",
    "PartyCard",
    "assemble",
    "load_card",
    "save_card",
]

_ROLES = ("party", "coordinator", "dealer", "cohort", "client")


@dataclass(frozen=True)
class PartyCard:
    """A party's rank, and what the others know of it."""

    rank: int
    peer: Peer


@dataclass(frozen=True)
class CoordinatorCard:
    """The coordinator's certificate, PEM."""

    certificate: str


@dataclass(frozen=True)
class DealerCard:
    """What the others know of the dealer."""

    peer: Peer


@dataclass(frozen=True)
class CohortCard:
    """The public key of a simulated cohort, 32 bytes."""

    key: bytes


@dataclass(frozen=True)
class ClientCard:
    """A client's id and public key, 32 bytes."""

    client: int
    key: bytes


Card = PartyCard | CoordinatorCard | DealerCard | CohortCard | ClientCard


def load_card(path: Path) -> Card:
    """The card in a file.

    Raises:
        DeploymentError: one sentence naming the file and the key.
    """
    document = read_yaml(path)
    try:
        role = document.pop("card", None)
        if role not in _ROLES:
            raise DeploymentError(f"card is {shown(role)}; allowed: {', '.join(_ROLES)}")
        if role == "party":
            rank = _pop(document, "rank")
            return PartyCard(whole("rank", rank, 0, 2**31), peer_from_file(document, "party", True))
        if role == "dealer":
            return DealerCard(peer_from_file(document, "dealer", False))
        if role == "coordinator":
            check_keys(document, ["certificate"], [], "")
            return CoordinatorCard(own_certificate("certificate", document["certificate"]))
        if role == "cohort":
            check_keys(document, ["key"], [], "")
            return CohortCard(read_key("key", document["key"]))
        client = _pop(document, "client")
        check_keys(document, ["key"], [], "")
        return ClientCard(whole("client", client, 0, 2**63 - 1), read_key("key", document["key"]))
    except DeploymentError as error:
        raise DeploymentError(f"{path}: {error}") from None


def save_card(card: Card, path: Path) -> None:
    """Write a card so that `load_card` gives it back.

    Raises:
        DeploymentError: if the file exists or cannot be written.
    """
    fields: dict[str, Any]
    match card:
        case PartyCard(rank, peer):
            fields = {"card": "party", "rank": rank, **peer_to_file(peer)}
        case DealerCard(peer):
            fields = {"card": "dealer", **peer_to_file(peer)}
        case CoordinatorCard(certificate):
            fields = {"card": "coordinator", "certificate": certificate}
        case CohortCard(key):
            fields = {"card": "cohort", "key": key.hex()}
        case ClientCard(client, key):
            fields = {"card": "client", "client": client, "key": key.hex()}
    write_yaml(fields, path)


def assemble(cards: Sequence[Card], policy: Policy, roster: Mapping[int, bytes] | None = None) -> Deployment:
    """The deployment of these members.

    Args:
        cards: one of each party, the coordinator's, at most one dealer's, a cohort's or clients'.
        policy: limits of every round.
        roster: more clients, id -> public key.

    Raises:
        DeploymentError: if a card is missing or one too many, or the deployment cannot be.
    """
    parties = {card.rank: card.peer for card in cards if isinstance(card, PartyCard)}
    clients = {card.client: card.key for card in cards if isinstance(card, ClientCard)}
    _refuse_repeated("party", [card.rank for card in cards if isinstance(card, PartyCard)])
    _refuse_repeated("client", [*(card.client for card in cards if isinstance(card, ClientCard)), *(roster or ())])
    coordinators = [card.certificate for card in cards if isinstance(card, CoordinatorCard)]
    dealers = [card.peer for card in cards if isinstance(card, DealerCard)]
    cohorts = [card.key for card in cards if isinstance(card, CohortCard)]
    for name, found, least in (("coordinator", coordinators, 1), ("dealer", dealers, 0), ("cohort", cohorts, 0)):
        if not least <= len(found) <= 1:
            allowed = "one" if least else "at most one"
            raise DeploymentError(f"{len(found)} cards of a {name} are given; allowed: {allowed}")
    for rank in range(len(parties)):
        if rank not in parties:
            raise DeploymentError(f"no card of party {rank} is given, but one of party {max(parties)}")
    return Deployment(
        parties=tuple(parties[rank] for rank in range(len(parties))),
        coordinator=coordinators[0],
        dealer=dealers[0] if dealers else None,
        enrolment=Enrolment(cohorts[0] if cohorts else None, {**clients, **(roster or {})}),
        policy=policy,
    )


def _refuse_repeated(what: str, numbers: Sequence[int]) -> None:
    seen: set[int] = set()
    for number in numbers:
        if number in seen:
            raise DeploymentError(f"{what} {number} is given twice; allowed: once")
        seen.add(number)


def _pop(document: dict[Any, Any], key: str) -> Any:
    if key not in document:
        raise DeploymentError(f"{key} is missing")
    return document.pop(key)
