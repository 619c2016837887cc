"""One run from configuration to run folder: task, noise plan, ledger, aggregator, rounds, adapter, figures, summary.

It must never go on with a ledger that is about something else, never replace a run that a shared budget counts, and
never leave a summary before all that the run leaves.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from experiments.adapter_card import adapter_card
from experiments.flower_runs import flower_rounds, refuse_missing_flower, spool_folder
from experiments.html_report import write_page
from experiments.progress import RunProgress
from experiments.run_figure import draw_run
from experiments.stored_runs import load_runs
from experiments.summary import summarise
from experiments.tasks import build_task
from fl_core.adapters import flat_adapter, save_adapter
from fl_core.budget_folder import registers
from fl_core.cautions import caution_of_delta, caution_of_place
from fl_core.checkpoint import Checkpoint, latest_checkpoint
from fl_core.cohort_size import cohorts
from fl_core.config import ConfigError, RunConfig
from fl_core.config_file import first_difference, load_config, load_yaml, save_config, to_dict
from fl_core.engines.flower.exchange import Relay
from fl_core.engines.local import LocalClients
from fl_core.engines.message_source import MessageSource
from fl_core.engines.round_loop import RoundLoop
from fl_core.engines.worker_pool import WorkerPool
from fl_core.host_memory import keep_freed_memory
from fl_core.privacy.ledger import Ledger, LedgerHeader
from fl_core.privacy_plan import PrivacyPlan, ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.storage import StorageError, write_atomically, write_json
from fl_core.task import FederatedTask
from fl_core.tracking import read_metrics, refuse_missing_services
from secagg.aggregator import Aggregator, PlaintextAggregator
from secagg.core_dumps import forbid_core_dumps
from secagg.party.crypten_import import refuse_missing_crypten
from secagg.smpc import SmpcAggregator

__all__ = ["execute"]


def execute(
    config: RunConfig,
    out: Path,
    resume: bool,
    overwrite: bool,
    progress: RunProgress,
    relay: Relay | None = None,
) -> dict[str, Any]:
    """Run `config` in folder `out`; returns the summary that is also written there.

    Args:
        config: the resolved configuration.
        out: the run folder.
        resume: go on with the run in it.
        overwrite: replace the run in it.
        progress: told how it goes.
        relay: to the nodes of a deployment, with engine.name flower; None: they are simulated.

    Raises:
        SottoError: for everything that a user or operator can mend.
    """
    forbid_core_dumps()
    refuse_missing_flower(config, simulated=relay is None)
    refuse_missing_services(config.tracking)
    if config.aggregation.backend == "smpc" and config.aggregation.deployment is None:
        refuse_missing_crypten()
    if config.privacy.budget is not None:
        registers(Path(config.privacy.budget), out / "ledger.jsonl")  # refuses what is no budget
    keep_freed_memory()
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    if overwrite and not resume:
        _refuse_counted(out)
    started = time.perf_counter()
    with (
        spool_folder(config) as spool,
        _aggregator(config, progress.say, spool) as aggregator,
        RunFolder(out, resume, overwrite) as folder,
    ):
        if resume:
            _refuse_difference(config, folder.config_path)
        task = build_task(config, progress.say)
        length = len(flat_adapter(task.model))
        progress.say("sizing the noise")
        plan = plan_privacy(config, length, max(task.records, config.federation.clients))
        delta, place = caution_of_delta(config, task.records), caution_of_place(config, nodes=relay is not None)
        notes = tuple(text for text in (delta, *task.notes) if text is not None)
        ledger, start = _open_ledger(config, plan, task, folder, resume, (*notes, *([place] if place else [])))
        with ledger:
            if start is not None and start.round >= config.federation.rounds and folder.summary_path.exists():
                progress.note(f"{out} has already finished all of its rounds: nothing was done, nothing was changed")
                return load_runs([out])[0][2]
            # Also what earlier sessions took, as far as it is on record: their rounds, not their preparations.
            spent = 0.0 if start is None else _seconds_of_rounds(folder, start.round)
            if task.in_words.learns:
                progress.note(f"the adapter learns {task.in_words.learns}")
            for text in notes:
                progress.note(text)

            def rounds(source: MessageSource) -> str:
                return RoundLoop(task, config, plan, folder, ledger, aggregator, start, source).run(progress.round)

            if isinstance(aggregator, SmpcAggregator) and config.engine.name == "flower":
                ended = flower_rounds(config, aggregator, spool, relay, progress, rounds)
            else:
                with _workers(config, task, plan, progress) as pool:
                    ended = rounds(LocalClients(task, config, plan, pool))
        aggregator.shutdown()
        progress.say("writing adapter, figures and report")
        return _write_results(config, plan, task, folder, ended, spent + time.perf_counter() - started)


def _seconds_of_rounds(folder: RunFolder, last: int) -> float:
    """Wall time of the rounds up to `last`, which earlier sessions of a resumed run did."""
    return float(sum(row["seconds"] for row in read_metrics(folder.metrics_path) if 0 < row["round"] <= last))


def _write_results(
    config: RunConfig, plan: PrivacyPlan, task: FederatedTask, folder: RunFolder, ended: str, seconds: float
) -> dict[str, Any]:
    """Adapter, figures, page and summary of a run whose rounds are done; returns the summary."""
    save_adapter(task.model, folder.adapter)
    rows = read_metrics(folder.metrics_path)
    summary = summarise(config, plan, task, rows, folder.ledger_path, ended, seconds)
    base = task.model.active_peft_config.base_model_name_or_path
    write_atomically(folder.adapter / "README.md", adapter_card(summary, base).encode())
    draw_run(rows, summary, folder.figures / "accuracy.png")
    name = folder.path.resolve().name
    write_page([(name, rows, summary)], {name: folder.ledger_path}, folder.page)
    # Last: a folder with a summary is that of a run that has ended, with all that it leaves.
    write_json(folder.summary_path, summary)
    return summary


def _workers(
    config: RunConfig, task: FederatedTask, plan: PrivacyPlan, progress: RunProgress
) -> AbstractContextManager[WorkerPool | None]:
    """The processes that compute cohorts; none where this one does."""
    if config.engine.workers == 1:
        return nullcontext()
    clients, workers = config.federation.clients, config.engine.workers
    found = len(cohorts(task, range(clients), config))
    if found < workers:
        progress.note(
            f"a round has {found} cohort{'s' if found > 1 else ''} for {workers} workers, so some have nothing to do; "
            f"set engine.cohort_size to {max(1, clients // workers)} or less"
        )
    progress.say(f"starting {workers} workers")
    return WorkerPool(task, config, plan, build_task)


def _refuse_difference(config: RunConfig, saved: Path) -> None:
    before = load_config(saved, [])
    # How many processes compute, and who else is told, changes no bit of a result.
    now = replace(config, engine=replace(config.engine, workers=before.engine.workers), tracking=before.tracking)
    found = first_difference(to_dict(now), to_dict(before))
    if found:
        key, ours, theirs = found
        raise ConfigError(
            f"cannot resume {saved.parent}: {key} is {ours!r} now and was {theirs!r} when the run began; "
            "use the old value or another --out"
        )


def _refuse_counted(out: Path) -> None:
    """Refuse to replace a run whose openings count in a shared budget, which has no other record of them.

    Raises:
        SottoError: if they do, or if the budget that its configuration names cannot tell.
    """
    saved, ledger = out / "config.yaml", out / "ledger.jsonl"
    budget = OmegaConf.select(load_yaml(saved), "privacy.budget") if saved.exists() and ledger.exists() else None
    if budget is not None and registers(Path(budget), ledger):
        raise StorageError(f"{out} holds a run that the budget {budget} counts; keep it and choose another --out")


def _open_ledger(
    config: RunConfig, plan: PrivacyPlan, task: FederatedTask, folder: RunFolder, resume: bool, notes: tuple[str, ...]
) -> tuple[Ledger, Checkpoint | None]:
    header = ledger_header(config, plan, uuid.uuid4().hex, notes, task.protected)
    if resume:
        # A missing ledger is refused like a damaged one: a new one would forget what was opened.
        start = latest_checkpoint(folder.checkpoints)
        expected = None if start is None else (start.ledger_lines, start.ledger_head)
        ledger = Ledger.resume(folder.ledger_path, expected)
        try:
            # Whether clients were on nodes of their own is known for certain only where they cannot be.
            nowhere = config.engine.name == "local" or config.aggregation.deployment is None
            place = caution_of_place(config, nodes=False) if nowhere else None
            unsaid = (caution_of_delta(config, task.records), place)
            _refuse_other_run(header, ledger.header, folder, unsaid)
        except ConfigError:
            ledger.close()
            raise
        return ledger, start
    ledger = Ledger.create(folder.ledger_path, header)
    # After the ledger: a folder with a configuration always has its ledger.
    save_config(config, folder.config_path)
    return ledger, None


def _refuse_other_run(
    now: LedgerHeader, before: LedgerHeader, folder: RunFolder, unsaid: Sequence[str | None] = ()
) -> None:
    """Refuse to go on where an equal configuration means something else now, such as a stand-in data set.

    Ledgers of an earlier version may lack the warnings `unsaid`.
    """
    kept = tuple(text for text in now.warnings if text in before.warnings or text not in unsaid)
    # A ledger of an earlier format does not say what it is about.
    data, contribution = before.data and now.data, before.contribution and now.contribution
    now = replace(now, run=before.run, data=data, contribution=contribution, warnings=kept)
    found = first_difference(asdict(now), asdict(before))
    if found:
        key, ours, theirs = found
        raise ConfigError(
            f"cannot resume {folder.path}: the ledger's {key} was {theirs!r} and would be {ours!r} now; "
            "bring back the data that the run began with, or use another --out"
        )


def _aggregator(config: RunConfig, on_progress: Callable[[str], None], spool: Path | None) -> Aggregator:
    """The aggregator that was asked for; parties of a deployment must answer before anything else begins."""
    a = config.aggregation
    if a.backend == "plaintext":
        return PlaintextAggregator(a.min_difference)
    if a.deployment is None:
        return SmpcAggregator(
            a.parties, a.timeout_s, min_difference=a.min_difference, norm_check=a.norm_check, spool=spool
        )
    aggregator = SmpcAggregator(a.parties, a.timeout_s, Path(a.deployment), norm_check=a.norm_check)
    policy = aggregator.deployment.policy
    if config.n_min < policy.n_min:
        raise ConfigError(
            f"federation.n_min is {config.n_min}; "
            f"the parties of {a.deployment} open no sum of fewer than {policy.n_min}"
        )
    if a.min_difference not in (None, policy.min_difference):
        raise ConfigError(
            f"aggregation.min_difference is {a.min_difference}; the parties of {a.deployment} have their own "
            f"({policy.min_difference}): leave it out"
        )
    on_progress(f"connecting to the {a.parties} parties of {a.deployment}")
    aggregator.start()
    return aggregator
