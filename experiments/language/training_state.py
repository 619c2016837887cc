"""What an interrupted pre-training needs to go on: recipe, tokens, tokenizer, checkpoint and metrics, in one folder.

Only safetensors, JSON, YAML and plain arrays are read: loading can never execute anything.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from experiments.language.corpus import Corpus
from experiments.language.recipe import PretrainingRecipe, load_recipe
from experiments.language.tokenizer import load_tokenizer
from fl_core.config import ConfigError
from fl_core.config_file import first_difference, save_config, to_dict
from fl_core.storage import StorageError, lock_folder, storage_errors, write_atomically
from fl_core.tracking import read_metrics, summary_writer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from experiments.language.pretraining import PretrainingReport

__all__ = ["TrainingFolder"]

_LARGEST_STEP = 10**12


class TrainingFolder:
    """The folder of one pre-training, locked while it is open; use as a context manager.

    Args:
        path: the folder that becomes the model's; training state is kept in its sub-folder `pretraining`.
        recipe: what to train.
        resume: go on with what is there; else it must hold no model.
        overwrite: delete what is there.

    Raises:
        StorageError: if another process holds it, or it holds a model and neither was asked for,
            or there is nothing to resume.
        ConfigError: if it is to be resumed with another recipe.
    """

    def __init__(self, path: Path, recipe: PretrainingRecipe, resume: bool = False, overwrite: bool = False) -> None:
        self.path, self.state = path, path / "pretraining"
        self._scores = self.state / "scores.json"  # there once training is finished
        self._lock = lock_folder(path)
        self._board: Any = None
        try:
            began = (self.state / "recipe.yaml").exists()
            if resume and not began:
                raise StorageError(f"{path} holds no pre-training to resume (no pretraining/recipe.yaml)")
            if resume and self._scores.exists():
                raise StorageError(f"the pre-training in {path} is finished; use --overwrite or another --out")
            if resume:
                found = first_difference(to_dict(recipe), to_dict(load_recipe(self.state / "recipe.yaml", [])))
                if found:
                    key, ours, theirs = found
                    raise ConfigError(
                        f"cannot resume {path}: {key} is {ours!r} now and was {theirs!r} when it began; "
                        "use the old value or another --out"
                    )
            elif (began or (path / "config.json").exists()) and not overwrite:
                raise StorageError(f"{path} already holds a model; use --resume, --overwrite or another --out")
            with storage_errors(path):
                if not resume:
                    shutil.rmtree(self.state, ignore_errors=True)
                self.state.mkdir(parents=True, exist_ok=True)
                save_config(recipe, self.state / "recipe.yaml")
        except BaseException:
            self.close()
            raise

    def corpus(self) -> tuple[Corpus, PreTrainedTokenizerFast] | None:
        """Tokens and tokenizer of an earlier session, or None."""
        if not (self.state / "tokens.npz").exists():
            return None
        try:
            return Corpus.load(self.state / "tokens.npz"), load_tokenizer(str(self.state / "tokenizer"))
        except (
            OSError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
            MemoryError,
            RuntimeError,  # an archive that says that it is encrypted, or packed in a way that there is not
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise StorageError(f"{self.state / 'tokens.npz'} is damaged ({error}); remove it") from None

    def keep_corpus(self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> None:
        """Keep tokens and tokenizer for a resumed session; the tokens go at the end."""
        with storage_errors(self.state):
            tokenizer.save_pretrained(str(self.state / "tokenizer"))
            corpus.save(self.state / "tokens.npz.tmp")
            (self.state / "tokens.npz.tmp").replace(self.state / "tokens.npz")

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Replace the checkpoint by the state after `step` steps."""
        tensors = {f"model.{name}": value.detach().cpu() for name, value in model.named_parameters()}
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{index}.{key}"] = value.detach().cpu()
        content = save({name: t.contiguous() for name, t in tensors.items()}, {"step": str(step)})
        write_atomically(self.state / "checkpoint.safetensors", content)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Fill model and optimiser from the checkpoint; the steps it holds, 0 if there is none."""
        path = self.state / "checkpoint.safetensors"
        if not path.exists():
            self._forget_after(0)
            return 0
        try:
            with safe_open(str(path), framework="pt") as stored:
                step = int((stored.metadata() or {})["step"])
                if not 0 <= step <= _LARGEST_STEP:
                    raise ValueError(f"step {step}")
                tensors: dict[str, Tensor] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(tensors.pop(f"model.{name}"))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = value
            _check_moments(moments, optimizer)
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
            raise StorageError(f"checkpoint {path} is damaged ({error}); start anew with --overwrite") from None
        self._forget_after(step)
        return step

    def record(self, report: PretrainingReport) -> None:
        """Append a report to `metrics.jsonl` and TensorBoard."""
        row = {key: value for key, value in asdict(report).items() if value is not None}
        with storage_errors(self.state), (self.state / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
        if self._board is None:
            self._board = summary_writer(self.state / "tensorboard", report.step - 1)
        with storage_errors(self.state):
            for key, value in row.items():
                if key not in ("step", "steps"):
                    self._board.add_scalar(key, value, report.step)

    def _forget_after(self, step: int) -> None:
        """Drop reports of steps that will be made again, and a last line torn by a crash."""
        path = self.state / "metrics.jsonl"
        rows = [row for row in read_metrics(path, "step") if row["step"] <= step]
        write_atomically(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())

    def finish(self, scores: Mapping[str, float]) -> None:
        """Keep the scores; remove what only an unfinished training needs."""
        write_atomically(self._scores, (json.dumps(dict(scores), indent=1, allow_nan=False) + "\n").encode())
        for name in ("tokens.npz", "checkpoint.safetensors"):
            (self.state / name).unlink(missing_ok=True)
        shutil.rmtree(self.state / "tokenizer", ignore_errors=True)

    def close(self) -> None:
        """Flush TensorBoard and release the lock."""
        if self._board is not None:
            self._board.close()
        self._lock.close()

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_moments(moments: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """Refuse moments that are not Adam's for each of its parameters; there are none before the first step.

    Raises:
        ValueError: if they are not.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if moments and set(moments) != set(range(len(parameters))):
        raise ValueError("moments of other parameters")
    for index, state in moments.items():
        shape = parameters[index].shape
        wanted = {"step": torch.Size(()), "exp_avg": shape, "exp_avg_sq": shape}
        if {name: value.shape for name, value in state.items()} != wanted:
            raise ValueError(f"moments of parameter {index} are not Adam's")
