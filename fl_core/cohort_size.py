"""How many clients make a cohort, and how many samples go through the model together, for a given memory.

Takes the configuration and shapes, never the machine's free memory: cohorts decide how sums are rounded, and a run must
be repeatable, on another machine and by several processes that share a round's cohorts.

More rows at once were no slower where that was measured: on one thread of a busy CPU, in speed against PEFT's layers
one client at a time, 16, 64, 256 and 1,024 rows gave 1.2, 3.5, 6.5 and 8.7 for an adapter behind kept features. The
CNN with all layers adapted stayed at 1.6 from 64 rows on, a GPT-2 of the shipped base's size at about 1.9 from 256,
DistilGPT2 at 1.7 from 32. So the defaults bound memory, not speed: 1,024 rows for small models, 1 GiB for language
models (some 450 and 90 sequences of 20 tokens of those two).
"""

from __future__ import annotations

from collections.abc import Sequence

from fl_core.adapters import trainable_parameters
from fl_core.config import RunConfig
from fl_core.task import FederatedTask

__all__ = ["cohorts", "samples_together"]

# Of `engine.cohort_gib`: what all clients' vectors may take. The rest is for a pass through the model.
_VECTORS = 0.25
# Bytes of a coordinate: each client's int64 vector; for a client that trains also its adapter, that of the pass and its
# gradient.
_HELD, _TRAINED = 8, 3 * 4


def cohorts(task: FederatedTask, clients: Sequence[int], config: RunConfig) -> list[slice]:
    """The cohorts of a round: contiguous slices of its client list, in order.

    They depend on the list's length, the adapter's and the configuration. Whoever computes a cohort
    (`fl_core.cohort.cohort_contributions`) gets the same bits.

    Args:
        task: its adapter's length counts.
        clients: those that are there this round.
        config: `engine.cohort_size`, else `engine.cohort_gib`, unit and sample rate.
    """
    size = config.engine.cohort_size
    if size is None:
        length = sum(parameter.numel() for _, parameter in trainable_parameters(task.model))
        trained = _TRAINED * config.federation.sample_rate if config.privacy.unit == "client" else 0.0
        size = max(1, int(_VECTORS * config.engine.cohort_gib * 2**30 / (length * (_HELD + trained))))
    return [slice(start, min(start + size, len(clients))) for start in range(0, len(clients), size)]


def samples_together(config: RunConfig, bytes_of_sample: int) -> int:
    """Most samples of clients' batches that go through the model together, if one client's batch is not more.

    Args:
        config: `engine.batch_size` and `engine.cohort_gib`.
        bytes_of_sample: what a pass keeps of each (`fl_core.gradients.client_gradients.bytes_of_sample`).
    """
    room = int((1 - _VECTORS) * config.engine.cohort_gib * 2**30)
    return min(config.engine.batch_size, max(1, room // max(1, bytes_of_sample)))
