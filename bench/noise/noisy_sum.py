"""The faithful path from contributions to an opened sum, in one call: for tests and for what is measured of noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fl_core.cohort import Contributions
from fl_core.rounds import cohort_messages, open_messages
from secagg.aggregator import Aggregator, BeforeOpening
from secagg.messages import RoundSpec, RoundSum
from secagg.noise_shares import NoisePlan
from secagg.randomness import Keystream

__all__ = ["open_noisy_sum"]


def open_noisy_sum(
    spec: RoundSpec,
    parts: Iterable[Contributions],
    noise: NoisePlan,
    aggregator: Aggregator,
    streams: Mapping[int, Keystream],
    server: Keystream,
    before_opening: BeforeOpening,
) -> RoundSum:
    """Arguments as `fl_core.rounds.open_messages`, with contributions and every client's stream for its message."""
    messages = (
        message
        for part in parts
        for message in cohort_messages(spec, part, noise, aggregator.parties, [streams[c] for c in part.clients])
    )
    return open_messages(spec, messages, noise, aggregator, server, before_opening)
