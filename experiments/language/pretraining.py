"""The training loop of step 1 for words: a model of GPT-2's architecture, step by step on public text.

Takes a recipe, tokens and a folder for checkpoints; gives a trained model and reports on the way. It must never see
private records, and never lose a finished step: an interrupted training goes on from its last checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from experiments.language.corpus import Corpus
from experiments.language.interruption import interruption_held_back
from experiments.language.packing import blocks_of, epoch_order
from experiments.language.recipe import PretrainingRecipe, ShapeSettings
from experiments.language.training_state import TrainingFolder
from secagg.errors import SottoError

__all__ = ["PretrainingReport", "Trainer", "new_model", "perplexity", "works_in_bfloat16"]

_REPORT_EVERY = 50  # steps, and where the held-out text is measured
_MAX_EXPONENT = 700.0  # exp of more is no float


@dataclass(frozen=True)
class PretrainingReport:
    """What the progress display shows now and then.

    Attributes:
        step, steps: this one, and how many there are.
        loss: mean training loss since the last report, nats a token.
        held_out_perplexity: on part of the held-out text, or None where it was not measured.
        tokens_per_second: over the time since the last report.
    """

    step: int
    steps: int
    loss: float
    held_out_perplexity: float | None
    tokens_per_second: float


class Trainer:
    """Trains one model on a corpus, step by step; everything but the weights is a function of the step number.

    Args:
        recipe: shape and training.
        corpus: training and held-out tokens.
        tokenizer: names the special tokens in the model's configuration.
        folder: where checkpoints and metrics go.
    """

    def __init__(
        self, recipe: PretrainingRecipe, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, folder: TrainingFolder
    ) -> None:
        self.recipe, self.corpus, self.folder = recipe, corpus, folder
        t = recipe.training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = new_model(recipe.shape, tokenizer, t.dropout, t.seed).to(self.device)
        self.optimizer = _optimizer(self.model, t.weight_decay, t.beta2, self.device)
        self.blocks = blocks_of(corpus.train, t.sequence_length)
        if len(self.blocks) < t.batch_size:
            raise SottoError(
                f"the text has {len(self.blocks)} sequences of {t.sequence_length} tokens; allowed: at least "
                f"training.batch_size ({t.batch_size})"
            )
        self.step = folder.load(self.model, self.optimizer)
        self.bfloat16 = works_in_bfloat16(t.precision, self.device)

    def run(self, on_report: Callable[[PretrainingReport], None]) -> None:
        """All remaining steps, with a checkpoint now and then and at an interruption."""
        t, steps = self.recipe.training, self.recipe.steps
        losses: list[Tensor] = []
        since = time.perf_counter()
        try:
            while self.step < steps:
                losses.append(self._step())
                if self.step % t.checkpoint_every == 0:
                    self._save()
                if self.step % _REPORT_EVERY and self.step % t.eval_every and self.step < steps:
                    continue
                loss = self._finite(float(torch.stack(losses).mean()), "loss")
                speed = len(losses) * t.batch_size * t.sequence_length / (time.perf_counter() - since)
                reached = None
                if self.step % t.eval_every == 0:
                    reached = self.held_out_perplexity(t.eval_tokens)
                report = PretrainingReport(self.step, steps, loss, reached, speed)
                self.folder.record(report)
                on_report(report)
                losses, since = [], time.perf_counter()
        finally:
            self._save()

    def held_out_perplexity(self, tokens: int | None = None) -> float:
        """Perplexity on the first `tokens` of the held-out text, or all of it."""
        stream = self.corpus.held_out if tokens is None else self.corpus.held_out[: tokens + 1]
        # Less text than one sequence is one shorter sequence.
        blocks = blocks_of(stream, min(self.recipe.training.sequence_length, len(stream) - 1))
        reached = perplexity(self.model, torch.from_numpy(blocks.astype(np.int64)), self._autocast)
        return self._finite(reached, "held-out perplexity")

    def _finite(self, value: float, what: str) -> float:
        if math.isfinite(value):
            return value
        raise SottoError(
            f"pre-training diverged by step {self.step}: the {what} is {value}; lower training.learning_rate "
            f"({self.recipe.training.learning_rate})"
        )

    def _step(self) -> Tensor:
        t = self.recipe.training
        ids = torch.from_numpy(self._batch(self.step).astype(np.int64)).to(self.device)
        self.model.train()
        total = torch.zeros((), device=self.device)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_step_seed(t.seed, self.step))  # dropout's
            for part in torch.split(ids, t.microbatch or t.batch_size):
                with self._autocast():
                    logits = self.model(part[:, :-1]).logits
                    loss = F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten()) * (len(part) / len(ids))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        with interruption_held_back():  # weights and step number belong together
            self.optimizer.step()
            self.step += 1
        self.optimizer.zero_grad(set_to_none=False)  # kept: fresh memory costs more than clearing it
        return total

    def _batch(self, step: int) -> NDArray[np.int32]:
        """The blocks of a step: passes over all blocks, each in an order of its own."""
        t = self.recipe.training
        per_epoch = len(self.blocks) // t.batch_size
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(len(self.blocks), t.seed, epoch)
        return self.blocks[np.sort(order[place * t.batch_size : (place + 1) * t.batch_size])]

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _save(self) -> None:
        # Weights that diverged are good for nothing; the last sound checkpoint stays.
        if all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            self.folder.save(self.model, self.optimizer, self.step)


def new_model(shape: ShapeSettings, tokenizer: PreTrainedTokenizerFast, dropout: float, seed: int) -> GPT2LMHeadModel:
    """An untrained model whose initial weights depend on `seed` alone."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=shape.positions,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        activation_function=shape.activation,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def learning_rate(recipe: PretrainingRecipe, step: int) -> float:
    """Linear warm-up to the peak, then a cosine down to a tenth of it (Loshchilov, Hutter 2017, without restarts)."""
    t = recipe.training
    if step < t.warmup_steps:
        return t.learning_rate * (step + 1) / t.warmup_steps
    progress = (step - t.warmup_steps) / max(1, recipe.steps - t.warmup_steps)
    return t.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


@torch.no_grad()
def perplexity(
    model: GPT2LMHeadModel, blocks: Tensor, autocast: Callable[[], AbstractContextManager[None]], batch: int = 32
) -> float:
    """exp of the mean loss over `blocks [n, t + 1]` (t inputs, t targets one further on); inf if it is not a number."""
    was_training = model.training
    model.eval()
    total = 0.0
    device = next(model.parameters()).device
    for part in torch.split(blocks, batch):
        ids = part.to(device)
        with autocast():
            logits = model(ids[:, :-1]).logits
        total += float(F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum"))
    model.train(was_training)
    mean = total / (blocks.shape[0] * (blocks.shape[1] - 1))
    return math.exp(mean) if mean < _MAX_EXPONENT else math.inf


def works_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether products run in bfloat16: as asked for, or where the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    fast: Callable[[], bool] | None = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return fast is not None and fast()


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def _optimizer(model: GPT2LMHeadModel, weight_decay: float, beta2: float, device: torch.device) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and normalisation do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), fused=True)
