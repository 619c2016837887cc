"""Base language models by name: the small one that ships, a folder, or any causal model of the Hugging Face hub.

Takes a name; gives the model in float32 (or quantised) and its tokenizer. It must never fall back to another model:
what cannot be loaded is refused in a sentence.
"""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from experiments.datasets.hub import HubUnavailable, only_from_cache
from experiments.language.tokenizer import load_tokenizer
from fl_core.first_line import first_line
from secagg.errors import SottoError

__all__ = ["SHIPPED", "load_base", "shipped_base"]

SHIPPED = "mini"


def shipped_base() -> Path:
    """The folder of the base that comes with Sotto."""
    return Path(str(files("experiments") / "bases" / SHIPPED))


def load_base(name: str, quantisation: str = "none") -> tuple[nn.Module, PreTrainedTokenizerFast]:
    """A causal language model without dropout, in evaluation mode, and its tokenizer.

    The model goes by `name`, which is what an adapter on it will name as its base.

    Args:
        name: `mini` (ships), a folder that transformers can load, or a name on the hub such as `distilgpt2`; a hub
            model that is in the local cache needs no network.
        quantisation: `none`, or `8bit` or `4bit` of the frozen weights (bitsandbytes, CUDA; Dettmers et al. 2023,
        "QLoRA").

    Raises:
        SottoError: if it is not there, is no causal language model, or cannot be quantised here.
    """
    extra = _quantised(quantisation)
    place = str(shipped_base()) if name == SHIPPED else str(Path(name).expanduser()) if Path(name).exists() else name
    local = Path(place).is_dir() or _only_from_cache(name)
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(place, local_files_only=local)
        # Only safetensors: weights in PyTorch's older format are a pickle, and may have come from anywhere.
        model = AutoModelForCausalLM.from_pretrained(
            place,
            config=_without_dropout(config),
            dtype=torch.float32,
            local_files_only=local,
            use_safetensors=True,
            **extra,
        )
    except Exception as error:  # transformers and the hub client share no base class of errors
        raise SottoError(
            f"model.base {name}: cannot be loaded as a causal language model ({first_line(error)}); "
            f"allowed: {SHIPPED}, a folder that holds config.json and weights as safetensors, or a name on the hub"
        ) from None
    model.config.use_cache = False  # keys and values of a whole batch that nobody reads
    # Adapters name their base by this. A folder's place on this machine means nothing on another, and is nobody's
    # business.
    model.name_or_path = model.config._name_or_path = name
    return model.eval(), load_tokenizer(place)


def _only_from_cache(name: str) -> bool:
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise SottoError(f"model.base {name} is no folder; allowed: {SHIPPED}, a folder, or a name on the hub")
    try:
        return only_from_cache(name, "config.json")
    except HubUnavailable as error:
        raise SottoError(
            f"model.base {name} is no folder and not in the hub's local cache, and the hub cannot be used: {error}; "
            f"allowed: {SHIPPED}, a folder, or a name on the hub"
        ) from None


def _quantised(quantisation: str) -> dict[str, Any]:
    if quantisation == "none":
        return {}
    for missing, what in (
        (importlib.util.find_spec("bitsandbytes") is None, "bitsandbytes is not installed (pip install bitsandbytes)"),
        (not torch.cuda.is_available(), "there is no CUDA device (quantised products exist for GPUs only)"),
    ):
        if missing:
            raise SottoError(f"model.quantisation is {quantisation}, but {what}; allowed here: none")
    from transformers import BitsAndBytesConfig

    if quantisation == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    }


def _without_dropout(config: Any) -> Any:
    """No dropout anywhere: the base is frozen, and LoRA's gradient is to be that of the model that is served."""
    for key in vars(config):
        if (key.endswith("_pdrop") or "dropout" in key) and isinstance(getattr(config, key), float):
            setattr(config, key, 0.0)
    return config
