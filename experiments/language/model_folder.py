"""A pre-trained base as an ordinary Hugging Face folder: weights in float16, tokenizer, model card."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from experiments.language.recipe import PretrainingRecipe
from fl_core.storage import StorageError, storage_errors, write_atomically

__all__ = ["score_text", "write_base"]


def write_base(
    folder: Path,
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    recipe: PretrainingRecipe,
    scores: dict[str, float],
) -> None:
    """Write what `AutoModelForCausalLM.from_pretrained(folder)` loads, and a card with data, licence and scores.

    Args:
        folder: is made if need be.
        model: as trained; a copy is rounded to float16.
        tokenizer: of the model.
        recipe: what it was trained by.
        scores: measured numbers by name, for the card.

    Raises:
        StorageError: if the disk is full or not writable; no file is half-written.
    """
    rounded = copy.deepcopy(model).to("cpu", torch.float16).eval()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=folder) as beside:
            try:
                rounded.save_pretrained(beside)
            except SafetensorError as error:  # its writer reports a full disk in its own way
                raise StorageError(f"{folder} cannot be written: {error}; free space, then use --resume") from None
            tokenizer.save_pretrained(beside)
            for file in Path(beside).iterdir():
                os.replace(file, folder / file.name)
    write_atomically(folder / "README.md", _card(model, recipe, scores).encode())


def score_text(value: float) -> str:
    """A score for people: whole from a thousand up, else four digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _card(model: GPT2LMHeadModel, recipe: PretrainingRecipe, scores: dict[str, float]) -> str:
    shape, t = recipe.shape, recipe.training
    parameters = sum(p.numel() for p in model.parameters())
    lines = [
        "---",
        f"license: {recipe.licence}",
        "language: en",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        "# A small GPT-2 for federated fine-tuning",
        "",
        f"{parameters:,} parameters: {shape.layers} layers of width {shape.width}, {shape.heads} heads, "
        f"{model.config.vocab_size:,} tokens, {shape.positions} positions. Made by `sotto pretrain`; weights "
        "rounded to float16.",
        "",
        recipe.card.strip(),
        "",
        f"Trained on {recipe.steps * t.batch_size * t.sequence_length:,} tokens ({recipe.steps:,} steps of "
        f"{t.batch_size} sequences of {t.sequence_length}), AdamW, peak learning rate {t.learning_rate:g}, cosine.",
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {name} | {score_text(value)} |" for name, value in scores.items()),
        "",
        f"Perplexities are per token of this vocabulary, on the {recipe.text.held_out_percent:g} % of the documents "
        "that neither model nor vocabulary was trained on.",
        "",
        "It is a small model: fluent for a few words, with no knowledge to rely on.",
    ]
    return "\n".join(lines) + "\n"
