"""`sotto party`: run a party or the dealer, and show what a deployment is.

Options in; a daemon that runs until it is told to stop, or what members compare with each other on standard output.
Mistakes raise `SottoError`, one sentence, before anything heavy is imported. It never prints a private key.
"""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.commands.party_init import assemble, init
from secagg.deployment.checks import DeploymentError, fingerprint, read_address
from secagg.deployment.keys import load_dealer_keys, load_party_keys
from secagg.deployment.parties_file import load_deployment
from secagg.deployment.terms import Deployment

__all__ = ["register"]

Config = Annotated[Path, typer.Option(help="The deployment's public file.")]
Listen = Annotated[
    str | None, typer.Option(help="host:port to listen on, where it is not the address in the file (a translated one).")
]

_BACKLOG = 64


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(help="Aggregation parties: run one, make keys, join cards, compare fingerprints.")
    group.callback(invoke_without_command=True)(party)
    for command in (init, assemble, show, dealer):
        group.command()(command)
    app.add_typer(group, name="party")


def party(
    context: typer.Context,
    rank: Annotated[int | None, typer.Option(min=0, help="Which party this is: 0, 1, ...")] = None,
    config: Config = Path("parties.yaml"),
    keys: Annotated[Path | None, typer.Option(help="Its private folder; default party-RANK beside the file.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Its record of openings; default in the keys' folder.")] = None,
    listen: Listen = None,
    spool: Annotated[Path | None, typer.Option(help="Folder of uploads that the coordinator may only name.")] = None,
) -> None:
    """Run one aggregation party until it is stopped; or one of the commands below."""
    if context.invoked_subcommand is not None:
        if (rank, keys, journal, listen, spool) != (None,) * 5:
            raise DeploymentError(
                f"options of `sotto party {context.invoked_subcommand}` come after its name, not before it"
            )
        return
    if rank is None:
        raise DeploymentError("--rank is missing; give the rank of the party to run, or a command (sotto party --help)")
    folder = keys or config.parent / f"party-{rank}"
    load_party_keys(folder, load_deployment(config), rank)
    _log()
    from secagg.party.daemon import run_daemon  # heavy: torch and CrypTen

    run_daemon(config, rank, folder, journal or folder / "journal", _listening(listen), typer.echo, spool)


def dealer(
    config: Config = Path("parties.yaml"),
    keys: Annotated[Path | None, typer.Option(help="Its private folder; default dealer beside the file.")] = None,
    listen: Listen = None,
) -> None:
    """Run the dealer of random triples for norm checks until it is stopped."""
    folder = keys or config.parent / "dealer"
    load_dealer_keys(folder, load_deployment(config))
    _log()
    from secagg.party.dealer_daemon import run_dealer

    run_dealer(config, folder, _listening(listen), typer.echo)


def show(
    config: Annotated[Path, typer.Argument(help="The deployment's public file.")] = Path("parties.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Print what members compare with each other: digest, fingerprints, keys and limits."""
    facts = _facts(load_deployment(config))
    if as_json:
        typer.echo(json.dumps(facts, sort_keys=True))
        return
    typer.echo(f"deployment  {facts['deployment']}")
    for rank, peer in enumerate(facts["parties"]):
        typer.echo(f"party {rank} at {peer['address']}")
        typer.echo(f"  certificate  {peer['certificate']}")
        typer.echo(f"  sealing key  {peer['sealing_key']}")
    typer.echo(f"coordinator\n  certificate  {facts['coordinator']}")
    if facts["dealer"] is not None:
        typer.echo(f"dealer at {facts['dealer']['address']}\n  certificate  {facts['dealer']['certificate']}")
    if facts["cohort"] is not None:
        typer.echo(f"clients: a simulated cohort with one key\n  key          {facts['cohort']}")
    else:
        typer.echo(f"clients: {facts['clients']} enrolled, each with a key of its own")
    typer.echo("policy")
    for name, value in facts["policy"].items():
        typer.echo(f"  {name:<15}{'the n_min of each round' if value is None else value}")


def _facts(deployment: Deployment) -> dict[str, Any]:

    cohort, dealer = deployment.enrolment.cohort, deployment.dealer
    return {
        "deployment": deployment.digest.hex(),
        "parties": [
            {
                "address": peer.address,
                "certificate": fingerprint(peer.certificate),
                "sealing_key": peer.sealing_key.hex(),
            }
            for peer in deployment.parties
        ],
        "coordinator": fingerprint(deployment.coordinator),
        "dealer": dealer and {"address": dealer.address, "certificate": fingerprint(dealer.certificate)},
        "cohort": cohort and cohort.hex(),
        "clients": len(deployment.enrolment.roster),
        "policy": asdict(deployment.policy),
    }


def _listening(address: str | None) -> int | None:
    """The descriptor of a listening socket, or None to listen where the others connect to."""
    if address is None:
        return None
    host, port = read_address("--listen", address, anywhere=True)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG).detach()
    except OSError as error:
        raise DeploymentError(
            f"--listen {address} cannot be listened on: {error.strerror or error}; allowed: a free address of this host"
        ) from None


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
