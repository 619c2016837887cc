"""A whole deployment made on one machine, with the keys of all its members: for trials and simulations.

Organisations that do not trust each other make their keys by themselves and join cards instead (`cards`). Nothing here
ever writes over a file, or puts a private key into `parties.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from secagg.deployment.checks import DeploymentError
from secagg.deployment.new_files import make_folder
from secagg.deployment.new_keys import new_keys
from secagg.deployment.parties_file import PARTIES_FILE, save_deployment
from secagg.deployment.terms import Deployment, Enrolment, Policy

__all__ = ["create_deployment"]


def create_deployment(
    folder: Path,
    addresses: Sequence[tuple[str, int]],
    policy: Policy,
    roster: Mapping[int, bytes] | None = None,
    dealer: tuple[str, int] | None = None,
) -> Deployment:
    """Make all keys of a deployment on one machine: for trials and simulations.

    Writes `folder/parties.yaml` and the private folders `party-0`, `party-1`, ..., `coordinator`, and where they apply
    `cohort` and `dealer`. Whoever can read all of `folder` can read every client's message.

    Args:
        folder: made if it does not exist.
        addresses: host and port of each party, by rank.
        policy: limits of every round.
        roster: client id -> Ed25519 public key, 32 bytes; None makes one key for a simulated cohort.
        dealer: host and port of the dealer of random triples, if there is one.

    Raises:
        DeploymentError: if the deployment cannot be (nothing is written then), or anything that would be written
            exists or cannot be written.
    """
    config = folder / PARTIES_FILE
    names = [f"party-{rank}" for rank in range(len(addresses))]
    names += ["coordinator", *(["cohort"] if roster is None else []), *(["dealer"] if dealer else [])]
    for path in (config, *(folder / name for name in names)):
        if os.path.lexists(path):
            raise DeploymentError(f"{path} exists and is not overwritten; name another folder or move it away")
    made = {name: new_keys(name) for name in names}
    deployment = Deployment(
        parties=tuple(made[f"party-{rank}"].peer(address) for rank, address in enumerate(addresses)),
        coordinator=made["coordinator"].certificate,
        dealer=made["dealer"].peer(dealer) if dealer else None,
        enrolment=Enrolment(made["cohort"].public) if roster is None else Enrolment(roster=roster),
        policy=policy,
    )
    make_folder(folder, private=False)
    for name in names:
        made[name].write(folder / name)
    save_deployment(deployment, config)
    return deployment
