"""The trainable part: a PEFT LoRA adapter on a frozen base, seen as one flat vector.

The order is that of the trainable `named_parameters()`, everywhere: gradients, messages, sums, checkpoints.
It must never make a base parameter trainable.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from fl_core.config import LoraSettings
from fl_core.first_line import first_line
from fl_core.storage import StorageError, draft_of, storage_errors, write_atomically
from secagg.errors import SottoError

__all__ = [
    "adapted_layers",
    "adapter_parts",
    "assign_gradient",
    "attach_adapter",
    "default_targets",
    "flat_adapter",
    "load_flat_adapter",
    "save_adapter",
    "trainable_parameters",
    "unmoved_weights",
]

_ADAPTABLE = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention, Conv1D)


def attach_adapter(base: nn.Module, settings: LoraSettings) -> PeftModel:
    """Freeze `base` and add LoRA pairs to the layers that `settings` names.

    The initial value (A random, B zero) is public and depends only on `settings.seed`.

    Raises:
        SottoError: if a target matches no layer, or a layer of a kind that PEFT cannot adapt.
    """
    targets: list[str] | str = list(settings.targets) or default_targets(base)
    names = {name.rpartition(".")[2] for name, _ in base.named_modules() if name}
    adaptable = _adaptable(base)  # now: PEFT changes layers before it meets one that it refuses
    missing = [target for target in settings.targets if target not in names]
    if missing:
        raise _not_adaptable(missing[0], adaptable)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        layers_to_transform=_blocks(base, settings.blocks),
        rank_pattern=dict(settings.ranks),
        alpha_pattern=dict(settings.alphas),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(settings.seed)
        # PEFT finds GPT-2's transposed layers by itself, and says so each time.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        try:
            return get_peft_model(base, config)
        except ValueError as error:
            strange = [target for target in settings.targets if target not in adaptable]
            if strange:
                raise _not_adaptable(strange[0], adaptable) from None
            raise SottoError(f"lora.targets {targets}: {first_line(error)}") from None


def _adaptable(base: nn.Module) -> set[str]:
    """Names of the layers of kinds that PEFT has LoRA for; quantised kinds may be others."""
    return {name.rpartition(".")[2] for name, layer in base.named_modules() if name and isinstance(layer, _ADAPTABLE)}


def _not_adaptable(target: str, adaptable: set[str]) -> SottoError:
    allowed = ", ".join(sorted(adaptable))
    return SottoError(f"lora.targets: no layer that can be adapted is called {target!r}; allowed: {allowed}")


def default_targets(base: nn.Module) -> list[str] | str:
    """The layers to adapt where none are named: the model's own `lora_targets`, PEFT's choice for its architecture, or
    all linear layers but the output head.

    Raises:
        SottoError: for a model of which nothing is known.
    """
    own = getattr(base, "lora_targets", None)
    if own is not None:
        return list(own)
    if not isinstance(base, PreTrainedModel):
        raise SottoError("lora.targets is empty and this model has no default; allowed: names of its layers")
    kind = base.config.model_type
    known: list[str] | str = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind, "all-linear")
    return known


def _blocks(base: nn.Module, wanted: list[int]) -> list[int] | None:
    """Numbers of the blocks to adapt, counted from 0; None for all."""
    if not wanted:
        return None
    count = getattr(getattr(base, "config", None), "num_hidden_layers", 0)
    wrong = [block for block in wanted if not -count <= block < count]
    if wrong:
        raise SottoError(
            f"lora.blocks: {wrong[0]} is none of the model's {count} blocks; allowed: "
            + (f"{-count} to {count - 1}" if count else "an empty list for a model without blocks")
        )
    return sorted({block % count for block in wanted})


def adapted_layers(model: PeftModel) -> list[str]:
    """Names of the layers that carry an adapter, without their position in the model, sorted."""
    named = (name.partition(".lora_")[0] for name, _ in trainable_parameters(model))
    return sorted({name.rpartition(".")[2] for name in named})


def trainable_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and tensors of the trainable parameters, in the flat vector's order."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def flat_adapter(model: nn.Module) -> Tensor:
    """A copy of the adapter as one float32 vector `[p]` on the CPU."""
    return torch.cat([p.detach().flatten().to("cpu", torch.float32) for _, p in trainable_parameters(model)])


def adapter_parts(model: nn.Module, theta: Tensor) -> list[Tensor]:
    """`theta [p]` as views in the shapes of the trainable parameters, in their order.

    Raises:
        ValueError: if the length differs or a value is not finite.
    """
    parameters = [parameter for _, parameter in trainable_parameters(model)]
    sizes = [parameter.numel() for parameter in parameters]
    if theta.shape != (sum(sizes),):
        raise ValueError(f"adapter has {sum(sizes)} parameters, got a vector of shape {tuple(theta.shape)}")
    if not bool(torch.isfinite(theta).all()):
        raise ValueError("adapter vector has values that are not finite")
    return [part.reshape(p.shape) for part, p in zip(torch.split(theta, sizes), parameters, strict=True)]


def load_flat_adapter(model: nn.Module, theta: Tensor) -> None:
    """Write `theta [p]` into the adapter.

    Raises:
        ValueError: if the length differs or a value is not finite.
    """
    parts = adapter_parts(model, theta)
    with torch.no_grad():
        for (_, parameter), part in zip(trainable_parameters(model), parts, strict=True):
            parameter.copy_(part)


def assign_gradient(model: nn.Module, gradient: Tensor) -> None:
    """Give each trainable parameter its part of `gradient [p]` as `.grad` (views where dtypes agree), for an optimiser.

    Raises:
        ValueError: if the length differs.
    """
    parameters = [p for _, p in trainable_parameters(model)]
    length = sum(p.numel() for p in parameters)
    if gradient.shape != (length,):
        raise ValueError(f"adapter has {length} parameters, got a gradient of shape {tuple(gradient.shape)}")
    for parameter, part in zip(parameters, torch.split(gradient, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view(parameter.shape).to(parameter.dtype)


def unmoved_weights(model: nn.Module, before: Tensor, gradient: Tensor) -> list[str]:
    """Names of adapter weights that a first optimiser step left as they were although they have a gradient.

    Catches a known silent failure: an optimiser that holds other tensors than the model (moved, or given its adapter,
    after the optimiser was made) trains nothing while losses look healthy.

    Args:
        model: the model after the step.
        before: adapter `[p]` before it.
        gradient: what the step followed `[p]`; a weight whose part is zero need not move.
    """
    parameters = trainable_parameters(model)
    sizes = [parameter.numel() for _, parameter in parameters]
    parts = zip(parameters, torch.split(before, sizes), torch.split(gradient, sizes), strict=True)
    return [
        name
        for (name, parameter), old, slope in parts
        if bool(slope.any()) and torch.equal(parameter.detach().flatten().to(old.device, old.dtype), old)
    ]


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter in PEFT's format, which `PeftModel.from_pretrained` loads; each file whole or as it was.

    Nothing of the base is written but its name, and nobody is asked over the network.

    Raises:
        StorageError: if it cannot be written.
    """
    draft = draft_of(folder)
    with storage_errors(folder):
        shutil.rmtree(draft, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with storage_errors(folder):
            # Else PEFT asks the hub whether the base's embeddings were resized, and may write them beside the adapter.
            model.save_pretrained(str(draft), save_embedding_layers=False)
        for file in sorted(draft.iterdir()):
            write_atomically(folder / file.name, file.read_bytes())
    except SafetensorError as error:
        raise StorageError(f"{folder} cannot be written: {error}; free space, then use --resume") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
