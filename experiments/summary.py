"""A finished run in numbers: who, how private against whom, how accurate, how many bytes and seconds.

Takes what ran and the ledger on disk; gives the summary that tables, figures and pages are made of. Epsilons come from
the ledger, never from what was planned.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.environment_facts import environment_facts
from experiments.formatting import finite
from fl_core.adapters import adapted_layers
from fl_core.cautions import is_of_place
from fl_core.config import RunConfig
from fl_core.config_file import to_dict
from fl_core.privacy.accountant import idealised
from fl_core.privacy.ledger import LedgerContents, history, read_ledger, summarise_ledger
from fl_core.privacy_plan import PrivacyPlan
from fl_core.task import PUBLIC, WHOLE, FederatedTask

__all__ = ["extrapolates", "in_words", "places_and_warnings", "summarise", "warnings_and_notes"]

# What tasks score; a row of metrics has those that its task knows.
_SCORES = ("accuracy", "top3_accuracy", "token_accuracy", "perplexity", "test_loss")


def summarise(
    config: RunConfig,
    plan: PrivacyPlan,
    task: FederatedTask,
    rows: list[dict[str, Any]],
    ledger: Path,
    ended: str,
    seconds: float,
) -> dict[str, Any]:
    """Everything a table or figure needs; epsilons are re-derived from the ledger on disk.

    Args:
        config: the resolved configuration.
        plan: the noise that ran.
        task: name, source and notes of the data.
        rows: metrics by round, row 0 untuned.
        ledger: path of the run's ledger.
        ended: why the run ended.
        seconds: wall time of this session and of the rounds of earlier ones.
    """
    scored = [row for row in rows if "accuracy" in row]
    before, after = _scores(scored[0]), _scores(scored[-1])
    rounds = [row["seconds"] for row in rows if row["round"]]
    contents = read_ledger(ledger)
    privacy = summarise_ledger(contents)
    return {
        "config": to_dict(config),
        "data": task.name,
        "source": task.source,
        "words": asdict(task.in_words),
        "notes": [*task.notes, *_incidents(rows, privacy)],
        "records": task.records,
        "parameters": plan.parameters,
        "noise_multiplier": plan.noise_multiplier,
        "ring_bits": plan.ring_bits,
        "privacy": privacy,
        "idealised_release_epsilon": _idealised(contents),
        "targets": adapted_layers(task.model),
        "scores_before": before,
        "scores_after": after,
        "accuracy_before": before["accuracy"],
        "accuracy_after": after["accuracy"],
        "rounds_done": rows[-1]["round"],
        "ended": ended,
        "bytes_per_client": rows[-1].get("bytes_per_client", 0),
        "seconds": round(seconds, 2),
        "seconds_rounds": round(sum(rounds), 2),
        "environment": environment_facts(next(task.model.parameters()).device),
    }


def _scores(row: dict[str, Any]) -> dict[str, float]:
    """What was measured on test data after a round: on all of it where that was done, else on a part."""
    whole = {name.removeprefix(WHOLE): value for name, value in row.items() if name.startswith(WHOLE)}
    return whole or {name: row[name] for name in _SCORES if name in row}


def _idealised(contents: LedgerContents) -> float | None:
    """The tighter PLD epsilon of the release view for real-valued Gaussian noise, to stand beside the proven one.

    Taken at the least noise of any opening for all of them, an upper bound that needs one distribution only.
    """
    events = history(contents)
    if not events or events[0].mechanism == "gaussian":
        return None
    least = min(event.noise_multiplier for event in events)
    steps = sum(event.steps for event in events)
    event = replace(events[0], noise_multiplier=least, steps=steps, clients=None, survivors=None, colluders=0)
    found = idealised([event], contents.header.delta)
    return None if found is None else finite(found.epsilon)


def _incidents(rows: list[dict[str, Any]], privacy: dict[str, Any]) -> list[str]:
    """What went other than planned and a reader of the result must know."""
    found = []
    nonfinite = sum(row.get("simulation/nonfinite", 0) for row in rows)
    if nonfinite:
        found.append(f"simulation: {nonfinite} contributions were not finite and counted as zero")
    repeated = privacy["openings"] - privacy["rounds"]
    if repeated:
        found.append(f"{repeated} openings were lost and repeated with fresh noise; all of them are in the epsilons")
    messages = [row["message"] for row in rows if row["round"] and "message" in row]  # round 0: untuned
    below = sum("below n_min" in message for message in messages)
    if below:
        found.append(
            f"{below} {'round' if below == 1 else 'rounds'} had fewer than n_min survivors: nothing was opened there"
        )
    if len(messages) > below:
        found.append(
            f"{len(messages) - below} rounds were refused by the aggregators, because their clients were too nearly "
            "those of an earlier opening of the same model: nothing was opened in them"
        )
    left_out = sum(row.get("refused", 0) for row in rows)
    if left_out:
        found.append(f"{left_out} messages were refused by the aggregators and are in no sum")
    return found


def warnings_and_notes(summary: dict[str, Any]) -> list[str]:
    """What must be said with a run's numbers, each once, the ledger's warnings first."""
    return list(dict.fromkeys([*summary["privacy"]["warnings"], *summary["notes"]]))


def places_and_warnings(summary: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of `warnings_and_notes`: where a simulation ran, which is true of each and no alarm; and the warnings.

    What the data is, is in neither.
    """
    said = [text for text in warnings_and_notes(summary) if text != in_words(summary, "about")]
    return [text for text in said if is_of_place(text)], [text for text in said if not is_of_place(text)]


def in_words(summary: dict[str, Any], what: str) -> str:
    """What the task says of itself (`fl_core.task.InWords`); summaries of earlier versions say little."""
    return str(summary.get("words", {}).get(what) or (PUBLIC if what == "scored_on" else ""))


def extrapolates(summary: dict[str, Any]) -> int | None:
    """How many clients' noise a run had on fewer clients' data; None for a run that is what it says."""
    cohort: int | None = summary["config"].get("simulation", {}).get("noise_cohort")
    return cohort
