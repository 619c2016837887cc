"""`sotto run`: one experiment from a YAML file, with progress; and `sotto sweep`: several, with one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.interruption import interrupted, terminable
from experiments.commands.progress_option import Progress, ProgressOption, round_progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(run)
    app.command()(sweep)


def run(
    config: Annotated[Path, typer.Argument(help="YAML configuration, for example experiments/configs/mnist.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Any keys of it as key=value: privacy.epsilon=2")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name of the configuration>")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object, nothing else")] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Run one federated experiment and write its folder."""
    from fl_core.config_file import load_config

    # Before anything heavy is imported: a mistake in a configuration is answered at once.
    parsed = load_config(config, overrides or [])
    from experiments.printed_result import print_result
    from experiments.runs import execute
    from experiments.stored_runs import has_begun

    folder = out or Path("runs") / config.stem
    with round_progress(progress, quiet, as_json, parsed) as shown:
        try:
            with terminable():
                summary = execute(parsed, folder, resume, overwrite, shown)
        except KeyboardInterrupt as by:
            shown.say("")
            begun = ["--resume"] if has_begun(folder) else []
            again = ["run", str(config), *(overrides or []), "--out", str(folder), *begun]
            raise interrupted(by, "round", again) from None
    if as_json:
        print(json.dumps(summary, sort_keys=True, allow_nan=False))
    else:
        print_result(summary, folder)


def sweep(
    plan: Annotated[Path, typer.Argument(help="YAML: base (a configuration) and runs (name: list of key=value)")],
    out: Annotated[Path, typer.Option(help="Folder that takes one run folder per run")],
    only: Annotated[list[str] | None, typer.Option(help="Names of runs; default all")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the arms as one JSON object, nothing else")] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Run several variants of one configuration; runs that are done are kept, interrupted ones go on.

    Several of these commands may share one folder: each takes the runs that no other is at.
    """
    from experiments.report_folder import refuse_other_folder
    from experiments.sweeps import load_sweep

    variants = load_sweep(plan, only or [])
    refuse_other_folder(out)
    from experiments.arm_table import arm_facts, arm_table
    from experiments.arms import arms_of
    from experiments.printed_result import print_table
    from experiments.report import write_report
    from experiments.runs import execute
    from experiments.stored_runs import has_begun, has_ended, ledgers_of, load_runs
    from fl_core.storage import FolderInUse

    done, elsewhere = [], []
    for number, (name, parsed) in enumerate(variants, 1):
        folder = out / name
        if not has_ended(folder):
            with round_progress(progress, quiet, as_json, parsed, f"{name} ({number}/{len(variants)})") as shown:
                try:
                    with terminable():
                        execute(parsed, folder, has_begun(folder), False, shown)
                except FolderInUse:
                    elsewhere.append(name)  # another `sotto sweep` works on the same grid
                    continue
                except KeyboardInterrupt as by:
                    shown.say("")
                    chosen = [word for run in only or [] for word in ("--only", run)]
                    raise interrupted(by, "round", ["sweep", str(plan), "--out", str(out), *chosen]) from None
        done.append(folder)
    if elsewhere and not as_json:
        print(f"left to another process: {', '.join(elsewhere)}; run this command again for the whole table")
    if not done:
        if as_json:
            print(json.dumps({"arms": [], "elsewhere": elsewhere}))
        return
    runs = load_runs(done)
    written = write_report(runs, ledgers_of(done), out, plan.stem)
    arms = arms_of(runs)
    if as_json:
        facts = {"arms": arm_facts(arms), "elsewhere": elsewhere, "report": str(written.page)}
        print(json.dumps(facts | {"ledger_faults": written.faults}, allow_nan=False))
    else:
        print_table(*arm_table(arms), [arm.name for arm in arms])
        print(f"report: {written.page}")
    written.refuse_faults()
