"""Hugging Face's Trainer with private steps: the same arguments, callbacks, evaluation and checkpoints.

Takes a model with LoRA adapters, `TrainingArguments` and `PrivacyArguments`; gives a tuned adapter and a ledger. What
the Trainer would do to gradients that is not private (accumulation, mixed-precision scaling, several devices) is
refused in a sentence. It must never log or store what is about the training records and has no noise, unless asked to.
"""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from fl_core.adapters import assign_gradient
from fl_core.causal_lm import CausalLmLoss
from fl_core.gradients.sample_losses import LossFunction
from fl_core.privacy.ledger import Head
from fl_core.shared_budget import BudgetExhausted
from fl_core.storage import write_atomically
from fl_core.trainer.poisson_loader import PoissonLoader
from fl_core.trainer.privacy_arguments import PrivacyArguments
from fl_core.trainer.private_steps import PrivateSteps
from secagg.errors import SottoError

__all__ = ["PrivateTrainer"]

_HEAD = "ledger_head.json"
# Training arguments that change a step in a way that is not accounted, and the value that each must have.
_FIXED = {
    "fp16": (False, "load the model in bfloat16 instead"),
    "bf16": (False, "load the model in bfloat16 instead"),
    "torch_compile": (False, "per-sample gradients come from the layers as they are"),
    "auto_find_batch_size": (False, "a step that is tried again spends again"),
    "label_smoothing_factor": (0.0, "give a loss of your own"),
    "neftune_noise_alpha": (None, "give a model of your own"),
    "load_best_model_at_end": (False, "checkpoints chosen by a score on private records are not accounted"),
    "include_num_input_tokens_seen": ("no", "how many tokens a secret sample has is private"),
    "deepspeed": (None, "one process on one device trains"),
}
# What the Trainer logs about the training records.
_UNNOISED = ("loss", "train_loss")
_LOSS_TOLD = "the training loss was logged: it is about the records, has no noise, and is in no epsilon"


class PrivateTrainer(Trainer):  # type: ignore[misc,unused-ignore]
    """`Trainer` for DP-SGD (Abadi et al. 2016) on LoRA adapters: each record's gradient is clipped, each sum has noise.

    A step's batch is drawn by secret coins; `per_device_train_batch_size * gradient_accumulation_steps` is its expected
    size, and `per_device_train_batch_size` the records that go through the model at a time. The optimiser, the schedule
    and the number of steps are those of `args`. `output_dir/ledger.jsonl` has an entry for every step before it is
    taken (`sotto ledger OUTPUT_DIR` reads it), and a resumed training counts what was taken after its checkpoint too.
    `args.max_grad_norm` is not applied: `privacy.clip_norm` bounds each record's gradient instead. Records whose
    gradient is not finite contribute zero, and nobody is told how many.

    Args:
        model: a `PeftModel`, or any module whose trainable parameters are LoRA adapters.
        args: as ever.
        privacy: the guarantee.
        sample_loss: `sample_loss(model_output, inputs) -> [b]`, one loss per record; default next-token cross-entropy.
        **rest: as `Trainer` takes them.

    Attributes:
        epsilon: spent so far; None before the training.

    Raises:
        SottoError: for arguments with which a step would not be private, or data without a length.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        *,
        privacy: PrivacyArguments,
        sample_loss: LossFunction | None = None,
        **rest: Any,
    ) -> None:
        if model is None:
            raise SottoError("PrivateTrainer needs a model; model_init is not supported: each trial would spend again")
        for name in ("compute_loss_func", "model_init"):
            if rest.get(name) is not None:
                raise SottoError(f"PrivateTrainer takes no {name}; give sample_loss, one loss per record")
        args = copy.copy(args or TrainingArguments(output_dir="tmp_trainer"))
        _refuse(args)
        self.privacy = privacy
        self._expected_batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
        # The Trainer must not take steps apart, scale gradients or make a number of what is not to be shown.
        args.gradient_accumulation_steps = 1
        args.max_grad_norm = 0.0
        args.logging_nan_inf_filter = False
        args.ignore_data_skip = True
        self._loss: LossFunction = sample_loss or CausalLmLoss()
        self._steps: PrivateSteps | None = None
        self._summary: dict[str, Any] | None = None
        self._sample_rate = 1.0
        super().__init__(model, args, **rest)

    @property
    def epsilon(self) -> float | None:
        """Spent so far by this training; None if there is no finite one."""
        if self._steps is not None:
            return self._steps.epsilon
        return None if self._summary is None else self._summary["views"]["release"]["epsilon"]

    def privacy_summary(self) -> dict[str, Any]:
        """What `sotto ledger` says: the epsilons with unit and adjacency, openings, warnings.

        Raises:
            SottoError: before the first training.
        """
        if self._summary is None:
            raise SottoError("nothing was trained yet, so there is no ledger")
        return self._summary

    def get_train_dataloader(self) -> Any:
        """Batches by secret coins, see `PoissonLoader`.

        Raises:
            SottoError: if there are no data, or they have no length.
        """
        dataset = self.train_dataset
        if dataset is None or not hasattr(dataset, "__len__") or not len(dataset):
            raise SottoError("PrivateTrainer needs a train_dataset with a length above 0: each record has a coin")
        records = len(dataset)
        self._sample_rate = min(1.0, self._expected_batch / records)
        collate = self._get_collator_with_removed_columns(self.data_collator, description="training")
        steps = max(1, round(1 / self._sample_rate))
        return PoissonLoader(dataset, collate, self._sample_rate, self.args.per_device_train_batch_size, steps)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train privately; arguments and result as of `Trainer.train`. The result's training loss is not a number,
        unless it was asked for.

        Raises:
            SottoError: if the output folder has a ledger already and nothing is resumed, or the noise cannot be
                calibrated.
        """
        start = self._start(resume_from_checkpoint)
        expected = None if start is None else _kept_head(Path(start))
        loader = self.get_train_dataloader()
        steps = self.args.max_steps
        if steps <= 0:
            steps = math.ceil(self.args.num_train_epochs * len(loader))
        config = self.privacy.as_run(self._sample_rate, steps)
        folder = Path(self.args.output_dir)
        notes = (_LOSS_TOLD,) if self.privacy.report_training_loss else ()
        with PrivateSteps(self.model, self._loss, config, len(loader.dataset), folder, expected, notes) as private:
            self._steps = private
            try:
                return super().train(start, *args, **kwargs)
            finally:
                self._summary, self._steps = private.summary(), None

    def _start(self, resume_from_checkpoint: str | bool | None) -> str | None:
        if resume_from_checkpoint is not True:
            return resume_from_checkpoint or None
        folder = self.args.output_dir
        found: str | None = get_last_checkpoint(folder) if os.path.isdir(folder) else None
        if found is None:
            raise SottoError(f"{folder} has no checkpoint to resume from")
        return found

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One private step's gradient, left in the parameters' `.grad`; the loss is not a number unless asked for."""
        assert self._steps is not None
        model.train()
        if hasattr(self.optimizer, "train") and callable(self.optimizer.train):
            self.optimizer.train()
        parts = [self._prepare_inputs(part) for part in inputs]
        try:
            mean, losses = self._steps.noisy_mean(self.state.global_step, parts)
        except BudgetExhausted as stop:
            # Without gradients the optimiser leaves the weights as they are.
            self.control.should_training_stop = True
            self.log({"stopped": str(stop)})  # type: ignore[dict-item]
            return torch.full((), math.nan, device=self.args.device)
        assign_gradient(self.model, mean.to(self.args.device))
        if not self.privacy.report_training_loss:
            return torch.full((), math.nan, device=self.args.device)
        return (losses.mean() if len(losses) else torch.zeros(())).to(self.args.device)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log without what is about the training records, and with the epsilon spent."""
        if not self.privacy.report_training_loss:
            logs = {name: value for name, value in logs.items() if name not in _UNNOISED}
        if self._steps is not None and self._steps.epsilon is not None:
            logs = {**logs, "epsilon": round(self._steps.epsilon, 6)}
        super().log(logs, *args, **kwargs)

    def floating_point_ops(self, inputs: Any) -> int:
        """0: how much there was to compute tells the size of a secret sample."""
        return 0

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self._steps is not None:  # first of all, so that no checkpoint is without it
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / _HEAD, json.dumps(self._steps.head._asdict()).encode())
        super()._save_checkpoint(model, trial)

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: every trial spends.

        Raises:
            SottoError: always.
        """
        raise SottoError(
            "PrivateTrainer does not search hyper-parameters, since every trial spends: train once for each setting, "
            "all with one privacy.budget"
        )


def _kept_head(checkpoint: Path) -> Head:
    path = checkpoint / _HEAD
    try:
        found = json.loads(path.read_text())
        head = Head(found["lines"], found["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SottoError(f"{path} cannot be read, so {checkpoint} is no checkpoint of a private training") from None
    if type(head.lines) is not int or not isinstance(head.hash, str):
        raise SottoError(f"{path} is not what a private training writes")
    return head


def _refuse(args: TrainingArguments) -> None:
    """Refuse arguments with which a step would be another than the one that is accounted.

    Raises:
        SottoError: naming the first of them.
    """
    for name, (allowed, instead) in _FIXED.items():
        value = getattr(args, name, allowed)
        if value != allowed:
            raise SottoError(f"TrainingArguments: {name} is {value!r}; allowed with privacy: {allowed!r} ({instead})")
    if args.world_size > 1 or args.n_gpu > 1:
        raise SottoError(
            f"PrivateTrainer trains on one device, and sees {max(args.world_size, args.n_gpu)}: "
            "set CUDA_VISIBLE_DEVICES to one, and start one process"
        )
    if getattr(args, "fsdp", None):
        raise SottoError("TrainingArguments: fsdp is set; allowed with privacy: none (one device trains)")
