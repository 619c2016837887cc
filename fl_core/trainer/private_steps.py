"""The private steps of one training: clipped sums with noise, each in the ledger before it is used.

Takes micro-batches of one step; gives the noisy mean gradient, after the ledger's entry is on the disk. It must never
give a gradient without noise, or one that the budget does not allow.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from fl_core.budget import Budget
from fl_core.cautions import caution_of_delta
from fl_core.config import RunConfig
from fl_core.config_file import first_difference
from fl_core.gradients.private_gradient import PrivateGradient
from fl_core.gradients.sample_losses import LossFunction
from fl_core.privacy.ledger import Head, Ledger, LedgerHeader, summarise_ledger
from fl_core.privacy_plan import IDEALISED, PrivacyPlan, ledger_header, ledger_opening, plan_privacy
from fl_core.storage import storage_errors
from secagg.errors import SottoError
from secagg.noise_draws import draw_noise
from secagg.randomness import Keystream

__all__ = ["PrivateSteps"]

_ONE_MACHINE = "one machine trained on all records: nothing protects them from whoever runs it, only from the release"


class PrivateSteps:
    """A training's gradient, noise, ledger and budget; a context manager, which holds the ledger's lock.

    Args:
        model: with LoRA adapters, in place.
        loss: one loss per record.
        config: as `PrivacyArguments.as_run` makes it.
        records: of the training data, a public number.
        folder: takes `ledger.jsonl`.
        expected: the ledger's head that the checkpoint remembers; None begins a new ledger.
        notes: what else weakens the guarantee, for the ledger and whoever reads it.

    Raises:
        SottoError: if the noise cannot be calibrated, the ledger is there already (or, to resume, is not) or is about
            another training, or the model cannot be trained privately.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        config: RunConfig,
        records: int,
        folder: Path,
        expected: Head | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._gradient = PrivateGradient(model, config.privacy.clip_norm, scale=2.0**config.privacy.scale_bits)
        self._loss = loss
        plan = plan_privacy(config, self._gradient.length, records)
        # Other warnings of such a run are about a server and clients, which there are not.
        ideal = [text for text in plan.warnings if text == IDEALISED]
        delta = caution_of_delta(config, records)
        said = (_ONE_MACHINE, *ideal, *([delta] if delta else []), *notes)
        self._plan: PrivacyPlan = replace(plan, warnings=said)
        self._expected_batch = config.federation.sample_rate * records
        self._noise = Keystream.system()
        header = replace(
            ledger_header(config, self._plan, uuid.uuid4().hex),
            contribution=f"one of {records} records, whose gradient is clipped to {config.privacy.clip_norm:g}",
        )
        path = folder / "ledger.jsonl"
        if expected is None:
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._ledger = Ledger.create(path, header)
        else:
            self._ledger = Ledger.resume(path, expected)
        try:
            _refuse_other(header, self._ledger.header, path)
            self._budget = Budget(config, self._plan, self._ledger)
        except BaseException:
            self._ledger.close()
            raise

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of a sum's noise over the clip norm."""
        return self._plan.noise.sum_multiplier(1)

    @property
    def epsilon(self) -> float | None:
        """Spent so far, by the openings in the ledger; None if there is no finite one."""
        return self._budget.epsilons()["release"]

    @property
    def head(self) -> Head:
        """Where the ledger stands, for a checkpoint."""
        return Head(self._ledger.lines, self._ledger.head)

    def summary(self) -> dict[str, Any]:
        """What `sotto ledger` says about the training so far."""
        return summarise_ledger(self._ledger.contents)

    def noisy_mean(self, number: int, microbatches: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """The gradient of step `number`: sum of clipped gradients plus noise, over the expected batch size.

        Args:
            number: the step, from 0.
            microbatches: inputs on the model's device; their records together are the step's sample.

        Returns:
            `[p]` float32, and the records' losses `[b]`, which are private.

        Raises:
            BudgetExhausted: if the step is not allowed any more; nothing was recorded.
            LedgerError: if its entry did not reach the disk.
        """
        total = torch.zeros(self._gradient.length, dtype=torch.int64)
        losses = [torch.zeros(0)]
        for inputs in microbatches:
            part = self._gradient(inputs, self._loss)
            total += part.total.cpu()
            losses.append(part.losses.cpu().to(torch.float32))
        noise = self._plan.noise
        with self._budget.claim(number, 1):
            self._ledger.append(ledger_opening(self._plan, number, self._budget.openings_of(number), frozenset({0})))
        stream = self._noise.child("step", self._ledger.lines)
        total += torch.from_numpy(draw_noise(noise.mechanism, noise.server_std, len(total), stream))
        mean = self._plan.grid.decode(total.numpy()) / self._expected_batch
        return torch.from_numpy(mean).to(torch.float32), torch.cat(losses)

    def close(self) -> None:
        """Let go of the ledger; more than once does no harm."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse_other(now: LedgerHeader, before: LedgerHeader, path: Path) -> None:
    found = first_difference(asdict(replace(now, run=before.run)), asdict(before))
    if found:
        key, ours, theirs = found
        raise SottoError(f"cannot go on with {path}: {key} is {ours!r} now and was {theirs!r} when the training began")
