"""Many clients through the model at once: their integer contributions, before noise.

Unit example: all clients of a round share one adapter, so their sampled records form one stream of batches with a
client id per record, and per-client sums are a segmented reduction. Unit client: sampled clients train together, each
its own adapter over one frozen base. Gives exactly what each client would compute alone (up to the model's float
rounding, which here depends on who shares a pass). It sees clients' private records, so it stands for the clients,
never for a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_core.adaptive_clipping import RoundClip, signed_bits
from fl_core.cohort_size import samples_together
from fl_core.config import RunConfig
from fl_core.gradients.client_gradients import bytes_of_sample, refuse_mixed_clients
from fl_core.gradients.private_gradient import PrivateGradient
from fl_core.local_training import local_updates
from fl_core.sampling import poisson_coin, poisson_sample
from fl_core.task import FederatedTask
from kernels import clip_and_sum_counted, clip_rows, squared_norms
from secagg.randomness import Keystream

__all__ = ["Contributions", "Diagnostics", "cohort_contributions", "refuse_mixed_records"]


@dataclass
class Diagnostics:
    """What a simulation can see and a deployment cannot; for the researcher's eyes, never part of a message.

    Attributes:
        samples: contributions that took part: records with unit example, clients with unit client.
        clipped, nonfinite: how many of them were.
        loss_sum, loss_count: sum of the records' finite losses, and how many these are; none is known with unit client.
    """

    samples: int = 0
    clipped: int = 0
    nonfinite: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0

    def add(self, other: Diagnostics) -> None:
        """Count another cohort's too."""
        self.samples += other.samples
        self.clipped += other.clipped
        self.nonfinite += other.nonfinite
        self.loss_sum += other.loss_sum
        self.loss_count += other.loss_count

    def row(self) -> dict[str, float]:
        """For the simulation's part of a round's metrics; empty if nothing took part, no loss if none is known."""
        if not self.samples:
            return {}
        row = {"samples": self.samples, "clipped": self.clipped / self.samples, "nonfinite": self.nonfinite}
        return {**row, "loss": self.loss_sum / self.loss_count} if self.loss_count else row


@dataclass(frozen=True)
class Contributions:
    """Quantised contributions of some clients.

    Attributes:
        clients: client ids `[n]`.
        totals: int64 grid steps `[n, p]`, each client's sum (unit example) or update (unit client); `[n, p + 1]` with
            adaptive clipping. Or one row `[1, ...]`, the sum of all of them.
    """

    clients: tuple[int, ...]
    totals: NDArray[np.int64] = field(repr=False)  # un-noised: it must not reach a log


def cohort_contributions(
    task: FederatedTask,
    theta: Tensor,
    clients: Sequence[int],
    streams: Sequence[Keystream],
    config: RunConfig,
    clip: RoundClip,
    diagnostics: Diagnostics,
    summed: bool = False,
    checked: bool = False,
) -> Contributions:
    """Contributions of one cohort; the adapter must already hold `theta`.

    Args:
        task: model, records, loss.
        theta: broadcast adapter `[p]`.
        clients: ids of the cohort's clients, a slice that `fl_core.cohort_size.cohorts` gives of those that are there.
        streams: each client's own keystream of this round; only its coins are drawn here.
        config: unit, sampling rate, batch sizes.
        clip: norm, grid, and adaptive clipping's bit, which then is the last coordinate.
        diagnostics: counters, updated in place.
        summed: only their sum is wanted, one row: the same bits, and no client's vector is kept.
        checked: `refuse_mixed_records` was called with an adapter that no adversary chose.
    """
    if config.privacy.unit == "example":
        totals = _example_totals(task, clients, streams, config, clip, diagnostics, summed, checked)
    else:
        totals = _client_totals(task, theta, clients, streams, config, clip, diagnostics, summed, checked)
    return Contributions(tuple(clients), totals.numpy())


def refuse_mixed_records(task: FederatedTask, theta: Tensor, clients: Sequence[int], config: RunConfig) -> None:
    """Refuse a model or loss in which a record of these clients changes the gradient of another.

    `cohort_contributions` looks by itself, at the adapter of the round. But rounding decides the outcome where an
    adapter makes large numbers cancel, differently for different records: a client whose server chooses adapters looks
    once, at the adapter that the model came with, or its refusals would tell of its records.

    Args:
        task: model, records, loss.
        theta: the adapter that the model holds `[p]`.
        clients: whose records are looked at.
        config: unit and batch size.

    Raises:
        SottoError: as `fl_core.gradients.sample_independence`.
    """
    task.model.train()
    if config.privacy.unit == "client":
        refuse_mixed_clients(task, theta)
        return
    for client in clients:
        records = np.asarray(task.clients[client][: config.engine.batch_size], dtype=np.int64)
        if len(records) > 1:
            PrivateGradient(task.model, config.privacy.clip_norm).refuse_mixing(task.batch(records), task.loss)


def _example_totals(
    task: FederatedTask,
    clients: Sequence[int],
    streams: Sequence[Keystream],
    config: RunConfig,
    clip: RoundClip,
    diagnostics: Diagnostics,
    summed: bool,
    checked: bool,
) -> Tensor:
    rate = config.federation.sample_rate
    sampled = [
        poisson_sample(task.clients[client], rate, stream.child("sample"))
        for client, stream in zip(clients, streams, strict=True)
    ]
    records = np.concatenate(sampled) if sampled else np.zeros(0, np.int64)
    owners = np.repeat(np.arange(len(clients)), [len(ids) for ids in sampled])
    if summed:
        owners[:] = 0
    gradient = PrivateGradient(task.model, clip.norm, clip.scale, checked=checked)
    totals = torch.zeros(1 if summed else len(clients), gradient.length + (clip.bit > 0), dtype=torch.int64)
    device = next(task.model.parameters()).device
    size = config.engine.batch_size
    for start in range(0, len(records), size):
        rows = owners[start : start + size]
        first, last = int(rows[0]), int(rows[-1])
        result = gradient(
            task.batch(records[start : start + size]),
            task.loss,
            segments=torch.from_numpy(rows - first).to(device),
            num_segments=last - first + 1,
        )
        totals[first : last + 1, : gradient.length] += result.total.cpu()
        if clip.bit:
            bits = signed_bits(result.norms, result.accepted, clip).cpu()
            totals[:, -1].index_add_(0, torch.from_numpy(rows), bits)
        _count(diagnostics, len(rows), result.clipped, result.nonfinite, result.losses)
    return totals


def _client_totals(
    task: FederatedTask,
    theta: Tensor,
    clients: Sequence[int],
    streams: Sequence[Keystream],
    config: RunConfig,
    clip: RoundClip,
    diagnostics: Diagnostics,
    summed: bool,
    checked: bool,
) -> Tensor:
    length, rate = len(theta) + (clip.bit > 0), config.federation.sample_rate
    sampled = [row for row, stream in enumerate(streams) if poisson_coin(rate, stream.child("sample"))]
    if not sampled:
        return torch.zeros(1 if summed else len(clients), length, dtype=torch.int64)
    task.model.train()  # before memory is measured: what a pass keeps depends on it
    updates = local_updates(
        task,
        theta,
        [task.clients[clients[row]] for row in sampled],
        config.client,
        [streams[row].child("order") for row in sampled],
        samples_together(config, bytes_of_sample(task, theta)),
        checked,
    )
    square = squared_norms(updates)
    if summed:
        result = clip_and_sum_counted(updates, square, clip.norm, scale=clip.scale)
        found = result.total[None]
    else:
        result = clip_rows(updates, square, clip.norm, clip.scale)
        found = result.total
    _count(diagnostics, len(sampled), result.clipped, result.nonfinite, torch.zeros(0))
    if clip.bit:
        bits = signed_bits(result.norms, result.accepted, clip)[:, None]
        found = torch.cat([found, bits.sum(0, keepdim=True) if summed else bits], 1)
    if summed or len(sampled) == len(clients):
        return found
    totals = torch.zeros(len(clients), length, dtype=torch.int64)
    totals[sampled] = found
    return totals


def _count(diagnostics: Diagnostics, samples: int, clipped: int, nonfinite: int, losses: Tensor) -> None:
    diagnostics.samples += samples
    diagnostics.clipped += clipped
    diagnostics.nonfinite += nonfinite
    finite = losses[losses.isfinite()]
    diagnostics.loss_sum += float(finite.sum())
    diagnostics.loss_count += len(finite)
