"""From the configuration to noise: which multiplier, in whose hands, in how many grid steps, and what to warn of.

Takes a `RunConfig` and the vector's length; gives a `PrivacyPlan` that rounds and ledger share, so that what is
added and what is accounted cannot disagree. Every circumstance that weakens the guarantee becomes a warning here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import cast

from fl_core.adaptive_clipping import bit_steps, joint_steps
from fl_core.config import RunConfig
from fl_core.privacy.calibration import calibrate
from fl_core.privacy.ledger import LedgerHeader, Opening
from fl_core.task import Protected
from secagg.encoding import FixedPoint
from secagg.errors import EncodingError
from secagg.messages import RoundNoise
from secagg.noise_shares import NoisePlan, plan_noise

__all__ = [
    "IDEALISED",
    "PrivacyPlan",
    "bounded_view",
    "budget_view",
    "ledger_header",
    "ledger_opening",
    "plan_privacy",
    "target_epsilon",
]

IDEALISED = "gaussian: epsilon is that of the idealised real-valued mechanism, not of the rounded floats that ran"


@dataclass(frozen=True)
class PrivacyPlan:
    """Everything about a run's noise that is fixed before its first round.

    Attributes:
        grid: the fixed-point grid of every contribution.
        noise: who adds how many steps.
        noise_multiplier: z that the shares were sized for; 0 with trust none.
        length: coordinates of one message.
        warnings: sentences for the ledger and the output.
        ring_bits: width of the ring; no sum of the run wraps around in it.
        norm_bound: L2 bound in grid steps that each client's vector is checked against; 0: no check.
        bit: grid steps of adaptive clipping's extra coordinate, the last of a message; 0 without it.
    """

    grid: FixedPoint
    noise: NoisePlan
    noise_multiplier: float
    length: int
    warnings: tuple[str, ...]
    ring_bits: int
    norm_bound: int
    bit: int = 0

    @property
    def parameters(self) -> int:
        """Coordinates of the adapter."""
        return self.length - (self.bit > 0)

    @property
    def bound(self) -> float:
        """L2 bound of one protected contribution, its extra coordinate included."""
        return self.noise.clip_steps / self.grid.scale

    def round_noise(self) -> RoundNoise:
        """What the aggregators add to and remove from every sum."""
        noise = self.noise
        if not noise.aggregators and not noise.components:
            return RoundNoise()
        return RoundNoise(noise.mechanism, noise.aggregator_std, noise.components)


def plan_privacy(config: RunConfig, length: int, contributions: int) -> PrivacyPlan:
    """Calibrate (if an epsilon is asked for) and size the noise.

    The epsilon is met by the view of `budget_view` with n_min survivors, `colluders` of them dishonest, all but one
    aggregator dishonest, and all rounds opened; more survivors have as much noise or more. With noise by both, each of
    the clients' and one aggregator's noise meets it by itself.

    Args:
        config: the resolved configuration.
        length: coordinates of the adapter.
        contributions: most protected contributions in one sum (records, or clients), which must fit the ring.

    Raises:
        SottoError: if the epsilon cannot be reached, or noise or sums do not fit the grid or the ring.
    """
    p, f, a = config.privacy, config.federation, config.aggregation
    grid = FixedPoint(2**p.scale_bits)
    clip_steps = grid.clip_steps(p.clip_norm)
    bit = 0
    if p.clipping == "adaptive":
        bit = bit_steps(clip_steps)
        clip_steps, length = joint_steps(clip_steps, bit), length + 1
    multiplier = 0.0
    if p.trust != "none":
        multiplier = p.noise_multiplier or calibrate(
            cast(float, p.epsilon),
            p.delta,
            sample_rate=f.sample_rate,
            steps=f.rounds,
            mechanism=p.mechanism,
            accountant="rdp",
            dimension=length,
            scale=clip_steps,
        )
    cohort = config.simulation.noise_cohort
    if cohort is not None:
        # The average of `cohort` clients has noise z C / cohort; a sum over fewer needs less for the same average.
        multiplier *= f.clients / cohort
    noise = plan_noise(
        p.mechanism,
        p.trust,
        multiplier,
        clip_steps,
        config.n_min - f.colluders,
        by=config.noise.by,
        aggregators=a.parties,
        dropout=config.noise.dropout,
        clients=f.clients,
        n_min=config.n_min,
    )
    return PrivacyPlan(
        grid,
        noise,
        multiplier,
        length,
        _warnings(config),
        ring_bits=_ring_bits(config, grid, noise, contributions),
        # A client's vector is one contribution with unit client, and has no norm to keep to with unit example.
        norm_bound=clip_steps if a.norm_check else 0,
        bit=bit,
    )


def _ring_bits(config: RunConfig, grid: FixedPoint, noise: NoisePlan, contributions: int) -> int:
    """The ring's width: as configured if every sum fits, else the narrowest; 64 where squares must fit."""
    # Only what is opened has to fit: noise that is removed before may wrap around.
    counts = range(config.n_min, config.federation.clients + 1) if noise.components else [config.federation.clients]
    largest = max(noise.sum_std(survivors) for survivors in counts)
    narrowest = grid.ring_bits(contributions, noise.clip_steps / grid.scale, largest)
    if config.aggregation.norm_check:
        return 64
    chosen = config.aggregation.ring_bits
    if chosen is not None and chosen < narrowest:
        raise EncodingError(
            f"aggregation.ring_bits is {chosen}, but a sum with its noise can need {narrowest}; "
            f"allowed: {narrowest} to 64, or lower privacy.scale_bits"
        )
    return narrowest if chosen is None else chosen


def ledger_header(
    config: RunConfig, plan: PrivacyPlan, run: str, notes: tuple[str, ...] = (), protected: Protected | None = None
) -> LedgerHeader:
    """What the ledger of a run says once: its configuration as far as privacy goes, and everything to warn of.

    Args:
        config: the resolved configuration.
        plan: the noise in force.
        run: the run's unique id.
        notes: of the task, such as a stand-in data set.
        protected: what the task's records are; by default not known.
    """
    about = protected or Protected()
    return LedgerHeader(
        run=run,
        unit=config.privacy.unit,
        trust=config.privacy.trust,
        mechanism=config.privacy.mechanism,
        neighbouring="zero_out",
        delta=config.privacy.delta,
        # The guarantee is for a contribution together with its extra coordinate.
        clip_norm=plan.bound if plan.bit else config.privacy.clip_norm,
        scale=plan.noise.clip_steps,
        dimension=plan.length,
        sample_rate=config.federation.sample_rate,
        sampling="poisson",
        clients=config.federation.clients,
        n_min=config.n_min,
        colluders=config.federation.colluders,
        backend=config.aggregation.backend,
        noise_source="system" if config.privacy.insecure_seed is None else "seeded",
        simulation_noise=config.simulation.noise,
        target_epsilon=target_epsilon(config),
        warnings=(*plan.warnings, *notes),
        noise_by=config.noise.by,
        noise_dropout="xnoise" if plan.noise.components else "oversize",
        aggregators=plan.noise.aggregators,
        aggregator_sigma=plan.noise.aggregator_std,
        components=plan.noise.components,
        data=about.data,
        contribution=about.record if config.privacy.unit == "example" else about.client,
    )


def target_epsilon(config: RunConfig) -> float | None:
    """The epsilon that a run must not exceed; none in an extrapolation, which spends far more than it asks for."""
    return config.privacy.epsilon if config.simulation.noise_cohort is None else None


def ledger_opening(plan: PrivacyPlan, number: int, attempt: int, clients: frozenset[int]) -> Opening:
    """The ledger's entry of round `number`, opened for the `attempt`-th time (from 0), over `clients`."""
    noise = plan.noise
    return Opening(
        round=number,
        attempt=attempt,
        survivors=len(clients),
        set_digest=hashlib.sha256(",".join(str(c) for c in sorted(clients)).encode()).hexdigest(),
        sigma_steps=noise.server_std if noise.trust == "central" else noise.share_std(len(clients)),
        noise_multiplier=noise.sum_multiplier(len(clients)),
    )


def budget_view(config: RunConfig) -> str:
    """The view whose epsilon `privacy.epsilon` limits: the strongest adversary that the trust model names."""
    return bounded_view(config.privacy.trust, config.aggregation.backend)


def bounded_view(trust: str, backend: str) -> str:
    """`budget_view` of a run of which no more is known, such as one that is read back from a summary."""
    if trust == "local":
        return "local"
    return "aggregators" if trust == "distributed" and backend == "smpc" else "release"


def _warnings(config: RunConfig) -> tuple[str, ...]:
    """What the ledger's header cannot say by itself (see `standing_warnings`) but every reader must know."""
    p = config.privacy
    found = []
    if config.aggregation.backend == "plaintext" and p.trust != "none":
        found.append(
            "plaintext aggregation: the server receives every client's message, so only the local view holds against it"
        )
    if p.mechanism == "gaussian" and p.trust != "none":
        found.append(IDEALISED)
    cohort = config.simulation.noise_cohort
    if cohort is not None:
        asked = f"epsilon {p.epsilon:g}" if p.epsilon is not None else f"noise multiplier {p.noise_multiplier:g}"
        found.append(
            f"extrapolation: the noise that an average over {cohort:,} clients would have at {asked}, on "
            f"{config.federation.clients:,} clients' data; these clients have the epsilons of this ledger, not that one"
        )
    if config.simulation.dropout > 0:
        found.append(f"simulation: each client vanished with probability {config.simulation.dropout} in each round")
    return tuple(found)
