"""A base with a trained adapter on it, from a run folder or an adapter folder, wherever they were made.

Weights are read from safetensors only, and a base that is not here is never replaced by another.
"""

from __future__ import annotations

import json
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from experiments.datasets import image_names
from experiments.language.bases import load_base
from fl_core.config_file import load_config
from fl_core.first_line import first_line
from secagg.errors import SottoError

__all__ = ["load_adapted"]


def load_adapted(folder: Path, base: str | None = None) -> tuple[PeftModel, PreTrainedTokenizerFast, str]:
    """The tuned model in evaluation mode, its tokenizer and its base's name.

    Args:
        folder: a run folder (its `adapter/` is used), or a folder in PEFT's format.
        base: the base's name; default: the run's `model.base`, else what the adapter's own configuration names.

    Raises:
        SottoError: if there is no adapter, its base is unknown or cannot be loaded, or the two do not fit.
    """
    place = folder / "adapter" if (folder / "adapter").is_dir() else folder
    if not (place / "adapter_config.json").is_file():
        raise SottoError(f"{folder} holds no adapter (no adapter_config.json); give a folder that `sotto run` wrote")
    named = _named_base(folder, place) if base is None else base
    if not (place / "adapter_model.safetensors").is_file():
        # PEFT would read adapter_model.bin in its place, a pickle that may have come from anywhere.
        raise SottoError(f"{place} has no adapter_model.safetensors; give a folder that `sotto run` wrote")
    try:
        model, tokenizer = load_base(named)
    except SottoError as error:
        if base is not None:
            raise
        raise SottoError(f"{place}: {error}; if its base lies elsewhere now, name it with --base") from None
    try:
        adapted = PeftModel.from_pretrained(model, str(place))
    except Exception as error:  # peft, safetensors and torch raise errors without a common base
        raise SottoError(f"the adapter in {place} does not fit the base {named}: {first_line(error)}") from None
    return adapted.eval(), tokenizer, named


def _named_base(folder: Path, place: Path) -> str:
    """The base that a run's configuration names, else the adapter's own."""
    run = place.parent / "config.yaml"
    if run.is_file():
        config = load_config(run, [])
        if config.data.name in image_names():
            raise SottoError(f"{folder} is a run on images; next words need a run with a language model")
        return config.model.base
    try:
        adapter = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
        named = adapter.get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError):
        named = None
    if not isinstance(named, str) or not named:
        raise SottoError(f"{place} does not say which base it was trained on; name it with --base")
    return named
