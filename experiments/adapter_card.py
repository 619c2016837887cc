"""The README of an adapter's folder: which base it needs, how to load both, and what protects the training data.

Takes a run's summary and the base's name; gives Markdown. An adapter is handed on without its run: no place on the
machine where it was made may stand there, and no epsilon without its unit, adversary and warnings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.formatting import epsilon_to_cite
from experiments.language.bases import SHIPPED
from experiments.summary import in_words, warnings_and_notes

__all__ = ["adapter_card"]


def adapter_card(summary: dict[str, Any], base: str | None) -> str:
    """The whole document.

    Args:
        summary: of the run.
        base: what the adapter names as its base, as `model.base` has it; None for an image network.
    """
    privacy = summary["privacy"]
    lines = [
        *_front_matter(base),
        "# A LoRA adapter trained by Sotto",
        "",
        f"For the layers {', '.join(summary['targets'])}; {summary['parameters']:,} parameters, "
        f"{summary['rounds_done']:,} rounds.",
        "",
        "## The base",
        "",
        *_base(base),
        "",
        *(_protection(privacy, in_words(summary, "record")) if privacy["private"] else _no_protection(privacy)),
    ]
    said = warnings_and_notes(summary)
    return "\n".join([*lines, *(["", *(f"* {text}" for text in said)] if said else [])]) + "\n"


def _protection(privacy: dict[str, Any], record: str) -> list[str]:
    """The epsilons, each with its adversary, and what they are about."""
    protected = {"example": "each record", "client": "each client's whole data"}[privacy["unit"]]
    return [
        "## What protects the training data",
        "",
        f"The protected unit is {protected} (unit {privacy['unit']}, "
        f"{privacy['neighbouring'].replace('_', '-')}, delta "
        f"{privacy['delta']:g}), over {privacy['openings']:,} opened sums. The release view's epsilon holds against "
        "whoever has this folder." + (f" One record is {record}." if record and privacy["unit"] == "example" else ""),
        "",
        "| view | epsilon | against |",
        "|---|---|---|",
        *(
            f"| {name} | {epsilon_to_cite(view['epsilon'])} | {view['adversary']} |"
            for name, view in privacy["views"].items()
        ),
        "",
        f"These epsilons follow from the ledger of run `{privacy['run']}`, whose last line has the hash "
        f"`{privacy['head']}`; `sotto ledger` derives them from it.",
    ]


def _no_protection(privacy: dict[str, Any]) -> list[str]:
    return [
        "## This adapter is not private",
        "",
        "No epsilon holds for it: what it tells of its training data has no bound. "
        f"The ledger is that of run `{privacy['run']}`, whose last line has the hash `{privacy['head']}`.",
    ]


def _on_hub(base: str) -> bool:
    """Whether a base that could be loaded came from the hub: by no name of a folder, and not with Sotto."""
    return base != SHIPPED and not base.startswith((".", "~", "/")) and not Path(base).exists()


def _front_matter(base: str | None) -> list[str]:
    """What the hub reads; it takes the name of a model there and no other for a base."""
    named = [f"base_model: {base}"] if base is not None and _on_hub(base) else []
    return ["---", *named, "library_name: peft", "tags:", "- lora", "---"]


def _base(base: str | None) -> list[str]:
    """Where the base is to be had, and the lines that load it and this folder."""
    if base is None:
        return [
            "Sotto's own image network, pre-trained on public images as the run's `config.yaml` says; it is not in "
            "this folder. `PeftModel.from_pretrained(network, this folder)` puts the adapter on it."
        ]
    if base == SHIPPED:
        where, place = (
            f"`{SHIPPED}`, the small GPT-2 that comes with Sotto: the folder `experiments/bases/{SHIPPED}` of its "
            "sources or of an installation. It is not in this folder: copy it to where Sotto is not installed.",
            f"experiments/bases/{SHIPPED}",
        )
    elif _on_hub(base):
        where, place = f"`{base}` on the Hugging Face hub. It is not in this folder.", base
    else:
        where, place = f"The folder `{base}` of whoever trained it. It is not in this folder: copy it along.", base
    return [
        where,
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{place}")',
        'model = PeftModel.from_pretrained(base, "adapter")  # this folder, wherever it is',
        "```",
        "",
        'With Sotto: `sotto suggest "How do I" --adapter FOLDER`, and `--base` if the base lies elsewhere now.',
        "Programs that load the base by themselves go by its name in `adapter_config.json` "
        "(`base_model_name_or_path`): write there where it is.",
    ]
