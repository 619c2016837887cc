"""One round from contributions to an opened, noisy sum.

Takes quantised contributions of clients and an aggregator; adds each client's noise share, splits, submits, and
opens one sum. Plaintext and SMPC run the same code. Nothing un-noised is ever submitted unless the trust model
says that the server adds the noise, and the hook (the ledger's entry) always runs before the opening.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fl_core.adaptive_clipping import RoundClip, clip_of_round
from fl_core.cohort import Contributions
from fl_core.config import RunConfig
from fl_core.privacy_plan import PrivacyPlan
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.envelopes import SealedMessage
from secagg.errors import AggregationError
from secagg.messages import ClientMessage, RoundSpec, RoundSum
from secagg.noise_draws import draw_noise
from secagg.noise_shares import NoisePlan
from secagg.openings import OpeningRefused
from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.sharing import split
from secagg.xnoise import draw_components

__all__ = [
    "attempt_stream",
    "begun_round",
    "clip_of",
    "cohort_messages",
    "joint_message",
    "noisy_message",
    "open_joint_sum",
    "open_messages",
    "spec_of",
]


def spec_of(config: RunConfig, plan: PrivacyPlan, run: str, number: int, attempt: int, model: str) -> RoundSpec:
    """One attempt at a round, as server and clients must both describe it, each from its own configuration.

    Args:
        config: the resolved configuration.
        plan: its noise.
        run: the run's id.
        number: the round, from 1.
        attempt: never the same twice in a round.
        model: digest of what was broadcast. Without the clip norm, so that two sums over one adapter are openings of
            one model and their clients must differ by enough, even if their clip norms differ too.
    """
    return RoundSpec(
        run=run,
        round=number,
        attempt=attempt,
        clients=range(config.federation.clients),
        length=plan.length,
        n_min=config.n_min,
        scale=plan.grid.scale,
        bits=plan.ring_bits,
        model=model,
        noise=plan.round_noise(),
        norm_bound=plan.norm_bound,
    )


def attempt_stream(random: Keystream, number: int, openings: int, attempt: int) -> Keystream:
    """The stream below which everything of one attempt is drawn; client i's own is its child ("client", i)."""
    return random.child("round", number, "opened", openings, "attempt", attempt)


def clip_of(config: RunConfig, plan: PrivacyPlan, clip_norm: float | None) -> RoundClip:
    """How a round's contributions are clipped; `clip_norm` is adaptive clipping's, None with fixed clipping."""
    initial = config.privacy.clip_norm
    return clip_of_round(initial, plan.grid.scale, clip_norm or initial, plan.bit)


def noisy_message(
    spec: RoundSpec, client: int, vector: NDArray[np.int64], noise: NoisePlan, parties: int, own: Keystream
) -> ClientMessage:
    """What one client sends: its contribution with its noise share, split for the parties.

    Args:
        spec: the round.
        client: who sends.
        vector: the contribution in grid steps `[length]`; the noise is added in place.
        noise: how much is this client's.
        parties: for how many the message is split.
        own: the client's keystream of this attempt.
    """
    seeds = _add_own_noise(vector, noise, own)
    shares = split(vector, parties, own.child("shares"), spec.bits)
    return ClientMessage(spec.run, spec.round, spec.attempt, (client,), shares, seeds)


def cohort_messages(
    spec: RoundSpec, part: Contributions, noise: NoisePlan, parties: int, streams: Sequence[Keystream]
) -> Iterator[ClientMessage]:
    """The messages of one cohort's clients, each with its own noise.

    Args:
        spec: the round.
        part: contributions in grid steps; noise is added to them in place.
        noise: who adds how much.
        parties: for how many a message is split.
        streams: each client's keystream of this round and attempt, in the order of `part`.
    """
    for client, vector, own in zip(part.clients, part.totals, streams, strict=True):
        yield noisy_message(spec, client, vector, noise, parties, own)


def joint_message(
    spec: RoundSpec, part: Contributions, noise: NoisePlan, streams: Sequence[Keystream]
) -> ClientMessage:
    """One message of a whole cohort for a single aggregator: the sum of what `cohort_messages` would give it.

    Args:
        spec: the round.
        part: one row, the sum of the contributions; every client's own noise is added to it in place.
        noise: who adds how much, not in components.
        streams: each client's keystream of this round and attempt.
    """
    (total,) = part.totals
    for own in streams:
        _add_own_noise(total, noise, own)
    shares = split(total, 1, streams[0].child("shares"), spec.bits)
    return ClientMessage(spec.run, spec.round, spec.attempt, part.clients, shares)


def open_messages(
    spec: RoundSpec,
    messages: Iterable[ClientMessage | SealedMessage],
    noise: NoisePlan,
    aggregator: Aggregator,
    server: Keystream,
    before_opening: BeforeOpening,
) -> RoundSum:
    """The faithful path: every client added its own noise, here or elsewhere, and sends its own shares.

    Args:
        spec: round, attempt, expected clients, length, n_min, ring, and the noise that aggregators add or take away.
        messages: of every expected client that is still there, once.
        noise: who adds how much.
        aggregator: plaintext or SMPC.
        server: the server's keystream, used with trust central only.
        before_opening: called with the agreed set of clients; if it raises, nothing is opened.

    Returns:
        The opened sum with all noise in it, in grid steps, and the clients in it.

    Raises:
        OpeningRefused: if this sum would differ too little from an earlier one; the round's shares are discarded.
        AggregationError: if the sum could not be opened; the round's shares are discarded.
    """
    with begun_round(aggregator, spec):
        for message in messages:
            aggregator.submit(message)
        opened = aggregator.close(before_opening)
    return _with_server_noise(opened, noise, spec.length, server)


def open_joint_sum(
    spec: RoundSpec,
    parts: Iterable[Contributions],
    noise: NoisePlan,
    aggregator: Aggregator,
    simulation: Keystream,
    server: Keystream,
    before_opening: BeforeOpening,
) -> RoundSum:
    """The simulation's short cut: one draw of the sum's noise, one joint message for all clients.

    The opened sum has the distribution of the faithful path's (for the discrete mechanism up to rounding the sum's
    standard deviation up to a whole step); what it does not exercise is named by the run's warnings.
    Arguments as `open_messages`, with contributions in grid steps in place of messages, and one keystream for all
    clients' noise; noise in components cannot be drawn jointly.
    """
    with begun_round(aggregator, spec):
        joint: NDArray[np.int64] = np.zeros(spec.length, dtype=np.int64)
        clients: list[int] = []
        for part in parts:
            clients.extend(part.clients)
            add_wrap(joint, part.totals.sum(axis=0))
        if clients:
            std = noise.client_std * len(clients) ** 0.5
            add_wrap(joint, draw_noise(noise.mechanism, std, spec.length, simulation.child("noise")))
            shares = split(joint, aggregator.parties, simulation.child("shares"), spec.bits)
            aggregator.submit(ClientMessage(spec.run, spec.round, spec.attempt, tuple(clients), shares))
        opened = aggregator.close(before_opening)
    return _with_server_noise(opened, noise, spec.length, server)


@contextmanager
def begun_round(aggregator: Aggregator, spec: RoundSpec) -> Iterator[None]:
    """Open the round at the aggregator for the block, which submits and closes; an error in it discards all shares.

    Raises:
        AggregationError: if it cannot be opened, or the aggregator refuses it.
    """
    try:
        aggregator.open_round(spec)
    except OpeningRefused as refusal:
        # Not about this round's clients, which nobody knows yet: the next round would be refused too.
        raise AggregationError(f"round {spec.round} was refused before it began: {refusal}") from None
    try:
        yield
    except BaseException:
        aggregator.abort()
        raise


def _add_own_noise(vector: NDArray[np.int64], noise: NoisePlan, own: Keystream) -> tuple[bytes, ...]:
    """Add one client's noise to `vector [length]` in place; returns the seeds of what may be taken away again."""
    if noise.components:
        drawn, seeds = draw_components(noise.mechanism, noise.components, len(vector), own.child("noise"))
        add_wrap(vector, drawn)
        return seeds
    if noise.client_std:
        add_wrap(vector, draw_noise(noise.mechanism, noise.client_std, len(vector), own.child("noise")))
    return ()


def _with_server_noise(opened: RoundSum, noise: NoisePlan, length: int, server: Keystream) -> RoundSum:
    if noise.server_std == 0:
        return opened
    total = opened.total.copy()
    add_wrap(total, draw_noise(noise.mechanism, noise.server_std, length, server.child("noise")))
    return RoundSum(total, opened.clients)
