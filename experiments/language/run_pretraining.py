"""Step 1 of the method for words, from recipe to model folder: text, tokens, steps, scores, card.

Takes a recipe and a folder; leaves the model (float16 safetensors), its tokenizer and a model card there, and beside
them, in `pretraining/`, what a resumed run needs. It must never see private records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from experiments.language.corpus import make_corpus
from experiments.language.model_folder import write_base
from experiments.language.ngrams import bigram_perplexity, unigram_perplexity
from experiments.language.pretraining import PretrainingReport, Trainer
from experiments.language.recipe import PretrainingRecipe
from experiments.language.training_state import TrainingFolder
from fl_core.host_memory import keep_freed_memory

__all__ = ["run_pretraining"]


def run_pretraining(
    recipe: PretrainingRecipe,
    out: Path,
    resume: bool,
    overwrite: bool,
    on_progress: Callable[[str], None],
    on_report: Callable[[PretrainingReport], None],
) -> dict[str, float]:
    """Train by `recipe` into folder `out`; the scores that its card shows.

    Raises:
        SottoError: for everything that a user can mend.
    """
    keep_freed_memory()
    transformers_logging.disable_progress_bar()  # `on_progress` and `on_report` say what is being done
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    started = time.perf_counter()
    with TrainingFolder(out, recipe, resume, overwrite) as folder:
        kept = folder.corpus()
        if kept is None:
            kept = make_corpus(recipe, on_progress)
            folder.keep_corpus(*kept)
        corpus, tokenizer = kept
        trainer = Trainer(recipe, corpus, tokenizer, folder)
        on_progress("")
        trainer.run(on_report)
        on_progress("measuring the held-out text")
        text, test = corpus.train[: corpus.once], corpus.held_out
        scores = {
            "held-out perplexity": trainer.held_out_perplexity(),
            "bigram perplexity (Kneser-Ney)": bigram_perplexity(text, test, len(tokenizer)),
            "unigram perplexity": unigram_perplexity(text, test, len(tokenizer)),
            "held-out tokens": float(len(corpus.held_out)),
            "tokens of the text": float(corpus.once),
            "tokens a pass, repetitions counted": float(len(corpus.train)),
            "characters a token": corpus.held_out_characters / len(corpus.held_out),
            "minutes of the last session": (time.perf_counter() - started) / 60,
        }
        write_base(out, trainer.model, tokenizer, recipe, scores)
        folder.finish(scores)
    return scores
