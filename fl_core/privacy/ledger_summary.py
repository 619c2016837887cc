"""What a ledger amounts to: its history as events, its three epsilons and everything that must be said with them.

Takes verified `LedgerContents`; gives events and a `LedgerSummary`. Every opening counts, retries included, and no
warning is left out.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, cast

from fl_core.privacy.events import Mechanism, MechanismEvent, Sampling
from fl_core.privacy.ledger_entries import LedgerHeader
from fl_core.privacy.ledger_file import LedgerContents
from fl_core.privacy.views import Views, views

__all__ = ["LedgerSummary", "history", "opening_event", "standing_warnings", "summarise_ledger", "summary"]


@dataclass(frozen=True)
class LedgerSummary:
    """A ledger's epsilons.

    Attributes:
        views: the three epsilons; 0 when nothing was opened.
        openings: opened sums, retries included.
        rounds: distinct rounds among them.
        private: False when the noise was seeded or there was none, so that no epsilon is a guarantee.
        warnings: sentences that must be shown with the epsilons.
    """

    header: LedgerHeader
    views: Views
    openings: int
    rounds: int
    private: bool
    warnings: tuple[str, ...]


def opening_event(header: LedgerHeader, survivors: int, noise_multiplier: float, steps: int = 1) -> MechanismEvent:
    """One opening (or `steps` alike) as an event; `noise_multiplier` is that of the whole opened sum.

    With XNoise a client's components count as one share: Skellam noise adds up to Skellam noise, and the ledger takes
    no components of a discrete Gaussian whose sum is not one to 1e-60.
    """
    of_clients, of_one_aggregator = _givers(header, noise_multiplier)
    return MechanismEvent(
        mechanism=cast(Mechanism, header.mechanism),
        noise_multiplier=of_clients,
        steps=steps,
        sample_rate=header.sample_rate,
        sampling=cast(Sampling, header.sampling),
        cohort=header.cohort,
        population=header.population,
        # the realised noise is made of exactly the survivors' shares
        clients=survivors,
        colluders=header.colluders,
        dimension=header.dimension,
        scale=header.scale,
        aggregators=header.aggregators,
        aggregator_multiplier=of_one_aggregator,
        own_multiplier=header.components[0] / header.scale if header.components and header.scale else None,
    )


def history(contents: LedgerContents) -> list[MechanismEvent]:
    """The ledger's openings as events, equal ones merged, in order of their first appearance.

    Openings without noise (trust `none`) are no private mechanism and are left out.
    """
    steps = Counter[tuple[int, float]]()
    for opening in contents.openings:
        if opening.noise_multiplier > 0.0:
            steps[(opening.survivors, opening.noise_multiplier)] += opening.steps
    return [opening_event(contents.header, survivors, z, count) for (survivors, z), count in steps.items()]


def _givers(header: LedgerHeader, noise_multiplier: float) -> tuple[float, float]:
    """Noise multipliers of all clients together and of each aggregator in a sum of `noise_multiplier`."""
    if not header.aggregators or header.scale is None:
        return noise_multiplier, 0.0
    together = math.sqrt(header.aggregators) * header.aggregator_sigma / header.scale
    if header.noise_by == "aggregators" or noise_multiplier <= together:
        # An entry that claims less than the aggregators' noise counts as that much and none of the clients.
        return 0.0, min(noise_multiplier, together) / math.sqrt(header.aggregators)
    return math.sqrt(noise_multiplier**2 - together**2), header.aggregator_sigma / header.scale


def standing_warnings(header: LedgerHeader) -> tuple[str, ...]:
    """What the header alone obliges everyone to say."""
    found = []
    if header.noise_source == "seeded":
        found.append("The noise came from a seed, so this run is non-private: whoever knows the seed can remove it.")
    if header.trust == "none":
        found.append("No noise was added (trust none), so this run is non-private.")
    if header.trust == "central":
        found.append("The server added the noise itself (trust central) and saw what clients sent without any.")
    if header.noise_by == "aggregators":
        found.append(
            "Clients added no noise of their own (noise by aggregators): if all aggregators collude, nothing protects "
            "a client's message."
        )
    if header.simulation_noise == "aggregate" and header.trust != "none":
        found.append(
            "A simulation drew the noise of each sum at once instead of share by share: the epsilons are "
            "those of the simulated protocol."
        )
    return tuple(dict.fromkeys([*found, *header.warnings]))


def summary(contents: LedgerContents, accountant: str | None = None) -> LedgerSummary:
    """Re-derive the three epsilons from a ledger.

    Raises:
        PrivacyError: where nothing is proven for what the ledger recorded.
    """
    header = contents.header
    noiseless = any(opening.noise_multiplier == 0.0 for opening in contents.openings)
    return LedgerSummary(
        header=header,
        views=_views(contents, noiseless, accountant),
        openings=sum(opening.steps for opening in contents.openings),
        rounds=len({opening.round for opening in contents.openings}),
        private=header.noise_source == "system" and header.trust != "none" and not noiseless,
        warnings=standing_warnings(header),
    )


def summarise_ledger(contents: LedgerContents, accountant: str | None = None) -> dict[str, Any]:
    """`summary` as a JSON object, with the run, its warnings and the head of its chain."""
    found = summary(contents, accountant)
    header = found.header
    return {
        "run": header.run,
        "mechanism": header.mechanism,
        "trust": header.trust,
        "backend": header.backend,
        "noise_by": header.noise_by,
        "noise_dropout": header.noise_dropout,
        "target_epsilon": header.target_epsilon,
        "data": header.data,
        "contribution": header.contribution,
        "openings": found.openings,
        "rounds": found.rounds,
        "private": found.private,
        "warnings": list(found.warnings),
        "lines": contents.head.lines,
        "head": contents.head.hash,
        **found.views.to_json(found.private),
    }


def _views(contents: LedgerContents, noiseless: bool, accountant: str | None) -> Views:
    header = contents.header
    events = history(contents)
    blank = noiseless or not events
    if blank:
        # a well-formed event stands in: without noise every view is None, without openings every one is 0
        events = [opening_event(header, header.clients, 1.0)]
    trust = "none" if blank else header.trust
    found = views(events, header.delta, accountant, header.neighbouring, header.unit, trust, header.backend)
    if contents.openings:
        return found
    nothing = "Nothing was opened."
    release, aggregators, local = (
        replace(view, epsilon=0.0, note=nothing) for view in (found.release, found.aggregators, found.local)
    )
    return replace(found, release=release, aggregators=aggregators, local=local, notes=(nothing,))
