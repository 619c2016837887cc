"""The faithful path from contributions to an opened sum, in one call."""

from __future__ import annotations

from fl_core.rounds import cohort_messages, open_messages


def open_noisy_sum(spec, parts, noise, aggregator, streams, server, before_opening):
    messages = (
        message
        for part in parts
        for message in cohort_messages(spec, part, noise, aggregator.parties, [streams[c] for c in part.clients])
    )
    return open_messages(spec, messages, noise, aggregator, server, before_opening)
