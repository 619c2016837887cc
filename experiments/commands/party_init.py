"""`sotto party init` and `sotto party assemble`: make keys, and join members' cards to one deployment.

Options in; private keys, cards and `parties.yaml` in files. Mistakes raise `SottoError`, one sentence, before anything
is written. Nothing here prints a private key or writes over a file.
"""

from __future__ import annotations

import enum
import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from secagg.deployment.cards import (
    Card,
    ClientCard,
    CohortCard,
    CoordinatorCard,
    DealerCard,
    PartyCard,
    load_card,
    save_card,
)
from secagg.deployment.cards import assemble as join
from secagg.deployment.checks import DeploymentError, read_address
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.parties_file import read_roster, save_deployment
from secagg.deployment.terms import Policy

__all__ = ["assemble", "init"]

MinClients = Annotated[int | None, typer.Option("--n-min", help="Fewest clients whose sum is ever opened; default 2.")]
MinDifference = Annotated[
    int | None,
    typer.Option(help="Fewest clients in which two openings of one model may differ; default the round's n_min."),
]
Timeout = Annotated[float | None, typer.Option(help="Longest wait for another party, in seconds; default 60.")]
MaxLength = Annotated[int | None, typer.Option(help="Most coordinates of a message; default 2^28.")]
MaxClients = Annotated[int | None, typer.Option(help="Most clients of a round; default 2^20.")]
Roster = Annotated[
    Path | None, typer.Option("--clients-roster", help="YAML file: client id: public key in hexadecimal.")
]


class Role(enum.StrEnum):
    """Whose keys `sotto party init` makes."""

    PARTY = "party"
    COORDINATOR = "coordinator"
    DEALER = "dealer"
    COHORT = "cohort"
    CLIENT = "client"


def init(
    folder: Annotated[Path, typer.Argument(help="Where keys are written; nothing there is written over.")],
    address: Annotated[
        list[str] | None, typer.Option(help="host:port of a party; once for each, in the order of their ranks.")
    ] = None,
    dealer: Annotated[str | None, typer.Option(help="host:port of the dealer, needed for norm checks.")] = None,
    clients_roster: Roster = None,
    n_min: MinClients = None,
    min_difference: MinDifference = None,
    timeout: Timeout = None,
    max_length: MaxLength = None,
    max_clients: MaxClients = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Make only the keys and card of this party.")] = None,
    role: Annotated[Role | None, typer.Option(help="Make only the keys and card of this member.")] = None,
    client: Annotated[int | None, typer.Option(min=0, help="Id of the client, with --role client.")] = None,
) -> None:
    """Make keys of a whole deployment here, or (--rank, --role) those of one member and its card for the others."""
    limits = _limits(n_min, min_difference, timeout, max_length, max_clients)
    addresses = [read_address("--address", text) for text in address or []]
    if rank is None and role is None:
        if client is not None:
            raise DeploymentError("--client goes with --role client")
        _init_all(folder, addresses, dealer, clients_roster, limits)
        return
    terms = {"--dealer": dealer, "--clients-roster": clients_roster, **{_option(name): 1 for name in limits}}
    for name, value in terms.items():
        if value is not None:
            raise DeploymentError(f"{name} is not one member's to say; give it to `sotto party assemble`")
    _init_member(folder, role or Role.PARTY, rank, client, addresses)


def assemble(
    cards: Annotated[list[Path], typer.Argument(help="Cards of all parties, and of dealer, cohort or clients.")],
    coordinator: Annotated[Path, typer.Option(help="The coordinator's card.")],
    output: Annotated[Path, typer.Option(help="Where the deployment's file is written.")] = Path("parties.yaml"),
    clients_roster: Roster = None,
    n_min: MinClients = None,
    min_difference: MinDifference = None,
    timeout: Timeout = None,
    max_length: MaxLength = None,
    max_clients: MaxClients = None,
) -> None:
    """Join the members' cards to one parties.yaml, which each of them then compares and keeps."""
    policy = Policy(**_limits(n_min, min_difference, timeout, max_length, max_clients))
    leader = load_card(coordinator)
    if not isinstance(leader, CoordinatorCard):
        raise DeploymentError(f"--coordinator {coordinator} is another member's card; allowed: the coordinator's")
    others = [load_card(path) for path in cards]
    for path, card in zip(cards, others, strict=True):
        if isinstance(card, CoordinatorCard):
            raise DeploymentError(f"{path} is a coordinator's card; give it with --coordinator, and only one")
    deployment = join([leader, *others], policy, None if clients_roster is None else read_roster(clients_roster))
    save_deployment(deployment, output)
    typer.echo(f"written: {output}")
    typer.echo(f"deployment {deployment.digest.hex()}")
    typer.echo(
        "Send the file to every member; each compares this line (`sotto party show`) with the others by telephone or "
        "in person before it starts."
    )


def _init_all(
    folder: Path, addresses: list[tuple[str, int]], dealer: str | None, roster: Path | None, limits: dict[str, Any]
) -> None:
    if len(addresses) < 2:
        raise DeploymentError(
            f"--address is given {len(addresses)} times; allowed: once for each of 2 or more parties "
            "(or --rank or --role for one member's keys)"
        )
    deployment = create_deployment(
        folder,
        addresses,
        Policy(**limits),
        None if roster is None else read_roster(roster),
        None if dealer is None else read_address("--dealer", dealer),
    )
    typer.echo(f"written: {folder / 'parties.yaml'} and the private keys of all members")
    typer.echo(f"deployment {deployment.digest.hex()}")
    typer.echo(
        "Whoever can read the whole folder can read every client's message: this is for trials and simulations. "
        "Organisations that do not trust each other make their own keys (--rank, --role) and join cards."
    )


def _init_member(
    folder: Path, role: Role, rank: int | None, client: int | None, addresses: list[tuple[str, int]]
) -> None:
    expected = 1 if role in (Role.PARTY, Role.DEALER) else 0
    if len(addresses) != expected:
        needs = "once, as host:port" if expected else "none, since nobody connects to it"
        raise DeploymentError(f"--address is given {len(addresses)} times for a {role}; allowed: {needs}")
    for name, value, owner in (("--rank", rank, Role.PARTY), ("--client", client, Role.CLIENT)):
        if (value is not None) != (role is owner):
            problem = "is missing for" if value is None else "is not for"
            raise DeploymentError(f"{name} {problem} a {role}; allowed: with --role {owner}, and needed there")
    number = rank if role is Role.PARTY else client
    name = str(role) if number is None else f"{role}-{number}"
    made = new_keys(name)
    card: Card
    if role is Role.PARTY and rank is not None:
        card = PartyCard(rank, made.peer(addresses[0]))
    elif role is Role.DEALER:
        card = DealerCard(made.peer(addresses[0]))
    elif role is Role.COORDINATOR:
        card = CoordinatorCard(made.certificate)
    elif role is Role.CLIENT and client is not None:
        card = ClientCard(client, made.public)
    else:
        card = CohortCard(made.public)
    public = folder / f"{name}.yaml"
    if os.path.lexists(public):  # before a key is written that no card would go with
        raise DeploymentError(f"{public} exists and is not overwritten; name another folder or move it away")
    made.write(folder / name)
    save_card(card, public)
    typer.echo(f"written: {folder / name} (private, stays on this machine) and {public} (card for the others)")


def _limits(*limits: float | None) -> dict[str, Any]:
    """Those that were given, as `Policy` names them; in its order."""
    names = (entry.name for entry in fields(Policy))
    return {name: value for name, value in zip(names, limits, strict=True) if value is not None}


def _option(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")
