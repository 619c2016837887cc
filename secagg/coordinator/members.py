"""The coordinator's parties, whoever runs them: their terms, the keys to talk to them, connections, own processes.

Either the folder of a deployment names parties that run elsewhere, or parties of its own are started on this machine
with fresh keys for themselves, the coordinator and one simulated cohort of clients. No key of a party is read here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secagg.coordinator.links import PartyLinks
from secagg.coordinator.local_daemons import LocalDaemons
from secagg.deployment.keys import load_coordinator_keys, load_signing_key
from secagg.deployment.parties_file import PARTIES_FILE, load_deployment
from secagg.deployment.terms import Deployment
from secagg.errors import AggregationError
from secagg.party.tls import tls_context

__all__ = ["Members", "load_cohort"]


class Members:
    """Parties and how the coordinator reaches them.

    Args:
        folder: with `parties.yaml` and the keys in `coordinator` and, for a cohort, `cohort`.
        timeout_s: longest time for any single answer of a party.
        daemons: the parties' processes if they are this machine's own; they end with `close`.

    Raises:
        AggregationError: for a deployment or keys that cannot be used.
    """

    def __init__(self, folder: Path, timeout_s: float, daemons: LocalDaemons | None = None) -> None:
        self.daemons, self.folder = daemons, folder
        self.deployment: Deployment = load_deployment(folder / PARTIES_FILE)
        self._signing_key: Ed25519PrivateKey | None = None
        keys = load_coordinator_keys(folder / "coordinator", self.deployment)
        trusted = [peer.certificate for peer in self.deployment.parties]
        context = tls_context(False, keys.tls_certificate, keys.tls_key, trusted)
        self.links = PartyLinks(self.deployment, context, timeout_s, daemons)

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """What a simulated cohort's messages are signed with.

        Raises:
            AggregationError: in a deployment whose clients have keys of their own.
        """
        if self._signing_key is None:
            self._signing_key = _cohort_key(self.folder, self.deployment)
        return self._signing_key

    @property
    def pids(self) -> list[int]:
        """Process ids of parties of its own, by rank."""
        return [] if self.daemons is None else self.daemons.pids

    def close(self) -> None:
        """Hang up, and end parties of its own."""
        self.links.close()
        if self.daemons is not None:
            self.daemons.shutdown()


@lru_cache(maxsize=2)
def load_cohort(folder: Path) -> tuple[Deployment, Ed25519PrivateKey]:
    """The parties' public keys, and what a simulated cohort's messages are signed with.

    Raises:
        AggregationError: for a deployment that cannot be used, or whose clients have keys of their own.
    """
    deployment = load_deployment(folder / PARTIES_FILE)
    return deployment, _cohort_key(folder, deployment)


def _cohort_key(folder: Path, deployment: Deployment) -> Ed25519PrivateKey:
    if deployment.enrolment.cohort is None:
        raise AggregationError("the clients of this deployment sign with keys of their own; send sealed messages")
    return load_signing_key(folder / "cohort", deployment)
