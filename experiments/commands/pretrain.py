"""`sotto pretrain`: a base language model from public text, step 1 of the method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.interruption import interrupted, terminable
from experiments.commands.progress_option import Progress, ProgressOption, step_progress

if TYPE_CHECKING:
    from experiments.language.pretraining import PretrainingReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(pretrain)


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, for example experiments/configs/pretrain_mini.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, for example training.tokens=1000000")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the model; default models/<name of the recipe>")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in the folder")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in the folder")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object, nothing else")] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Train a GPT-2-architecture base on public text; the folder loads with transformers and as `model.base`."""
    from experiments.language.recipe import load_recipe

    parsed = load_recipe(recipe, overrides or [])
    from experiments.language.model_folder import score_text
    from experiments.language.run_pretraining import run_pretraining

    folder = out or Path("models") / recipe.stem
    with step_progress(progress, quiet, as_json, parsed.steps, "pre-training") as shown:

        def show(report: PretrainingReport) -> None:
            reached = report.held_out_perplexity
            shown.advance(
                report.step,
                f"loss {report.loss:.3f}  {report.tokens_per_second:,.0f} tokens/s",
                "" if reached is None else f"held-out perplexity {reached:.1f}",
                {
                    "loss": report.loss,
                    "tokens_per_second": report.tokens_per_second,
                    "held_out_perplexity": reached,
                },
            )

        try:
            with terminable():
                scores = run_pretraining(parsed, folder, resume, overwrite, shown.say, show)
        except KeyboardInterrupt as by:
            begun = ["--resume"] if (folder / "pretraining" / "recipe.yaml").exists() else []
            again = ["pretrain", str(recipe), *(overrides or []), "--out", str(folder), *begun]
            raise interrupted(by, "step", again) from None
    if as_json:
        print(json.dumps({"folder": str(folder), **scores}, sort_keys=True, allow_nan=False))
        return
    for name, value in scores.items():
        print(f"{name}: {score_text(value)}")
    print(f"model: {folder} (sotto run CONFIG.yaml model.base={folder})")
