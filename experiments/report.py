"""Tables and figures over several run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.arms import Arm, Run, arms_of, gain_kept
from experiments.comparison import draw_comparison, draw_trust
from experiments.stored_summary import check_curve, check_summary, writable
from experiments.summary import COLUMNS, table_row
from fl_core.storage import storage_errors, write_atomically
from fl_core.tracking import read_metrics
from secagg.errors import SottoError

__all__ = ["PAGE", "arm_facts", "arm_table", "ledgers_of", "load_runs", "write_report"]

PAGE = "report.html"


def load_runs(places: Sequence[Path]) -> list[Run]:
    """(name, metrics rows, summary) of finished runs: from run folders, or from a report's `runs.json`.

    Raises:
        SottoError: if a folder holds no finished run or a damaged one, or a file is no `runs.json`.
    """
    runs: list[Run] = []
    for place in places:
        if place.is_file():
            runs += _stored_runs(place)
            continue
        path = place / "summary.json"
        try:
            summary = check_summary(_finite(path), str(path))
        except FileNotFoundError:
            raise SottoError(
                f"{place} holds no finished run (no summary.json); give folders that `sotto run` wrote, or a runs.json"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise SottoError(f"{path} cannot be read: {error}") from None
        metrics = place / "metrics.jsonl"
        runs.append((_name(place), check_curve(read_metrics(metrics), str(metrics)), summary))
    return runs


def ledgers_of(places: Sequence[Path]) -> dict[str, Path]:
    """Where the ledger of each run folder is, by the run's name; runs of a `runs.json` come without."""
    return {_name(place): place / "ledger.jsonl" for place in places if not place.is_file()}


def _name(folder: Path) -> str:
    return folder.name or folder.resolve().name  # `.` is a place too


def _stored_runs(path: Path) -> list[Run]:
    try:
        entries = _finite(path)
        curves = [[{"round": number, "accuracy": value} for number, value in entry["accuracy"]] for entry in entries]
        found = [(entry["name"], curve, entry["summary"]) for entry, curve in zip(entries, curves, strict=True)]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeError) else repr(error)
        raise SottoError(f"{path} is no runs.json that a report wrote: {reason}") from None
    for name, curve, summary in found:
        if not writable(name) or not 0 < len(name) <= 255:
            raise SottoError(f"{path} is no runs.json that a report wrote: a name is no text of up to 255 characters")
        check_summary(summary, f"{path}, run {name}")
        check_curve(curve, f"{path}, run {name}")
    if not found:
        raise SottoError(f"{path} is no runs.json that a report wrote: it has no runs")
    return found


def _finite(path: Path) -> Any:
    """What JSON is in a file, without the numbers that JSON has not and Python reads."""
    value = json.loads(path.read_text(encoding="utf-8"))
    json.dumps(value, allow_nan=False)
    return value


def write_report(runs: Sequence[Run], out: Path, title: str | None = None) -> None:
    """`table.md`, `runs.json` (summaries and accuracy by round) and figures in folder `out`.

    `accuracy.png` shows accuracy by round; `trust.png`, where trust models are compared, accuracy by epsilon. Both
    carry `title`, or say what they show.
    """
    arms = arms_of(runs)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        draw_comparison(arms, title or "accuracy by round", out / "accuracy.png")
        if len({arm.summary["config"]["privacy"]["trust"] for arm in arms} - {"none"}) > 1:
            draw_trust(arms, title or "accuracy by epsilon and trust", out / "trust.png")
    write_atomically(out / "table.md", _markdown(arms).encode())
    facts = [
        {
            "name": name,
            "summary": summary,
            "accuracy": [[r["round"], r["accuracy"]] for r in rows if "accuracy" in r],
        }
        for name, rows, summary in runs
    ]
    write_atomically(out / "runs.json", (json.dumps(facts, sort_keys=True, allow_nan=False) + "\n").encode())


def arm_table(arms: Sequence[Arm]) -> tuple[list[str], list[list[str]]]:
    """Columns and one row of cells an arm: means, with the standard deviation between runs where there are several."""
    columns, rows = list(COLUMNS), [table_row(arm.summary) for arm in arms]
    after = columns.index("accuracy after")
    for arm, row in zip(arms, rows, strict=True):
        row[after] = _spread(arm, "accuracy_after")
        row[-1] = f"{arm.mean('seconds'):.1f}"
    if any(len(arm.runs) > 1 for arm in arms):
        columns.append("runs")
        for arm, row in zip(arms, rows, strict=True):
            row.append(str(len(arm.runs)))
    kept = [gain_kept(arm, arms) for arm in arms]
    if any(share is not None for share in kept):
        columns.append("gain kept")
        for share, row in zip(kept, rows, strict=True):
            row.append("-" if share is None else f"{share:.1%}")
    for name, title in (("top3_accuracy", "top-3"), ("token_accuracy", "token accuracy"), ("perplexity", "perplexity")):
        if any(arm.score("after", name) is not None for arm in arms):
            columns.append(f"{title}, before and after")
            for arm, row in zip(arms, rows, strict=True):
                row.append(" → ".join(_score(arm.score(when, name)) for when in ("before", "after")))
    return columns, rows


def arm_facts(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Each arm's table row as numbers for scripts: names of runs, epsilons by view, mean and deviation of accuracy."""
    return [
        {
            "name": arm.name,
            "runs": [name for name, _, _ in arm.runs],
            "trust": arm.summary["config"]["privacy"]["trust"],
            "epsilon_target": arm.summary["config"]["privacy"].get("epsilon"),
            "epsilon": {name: view["epsilon"] for name, view in arm.summary["privacy"]["views"].items()},
            "accuracy_before": arm.mean("accuracy_before"),
            "accuracy_after": arm.mean("accuracy_after"),
            "accuracy_deviation": arm.deviation("accuracy_after"),
            "gain_kept": gain_kept(arm, arms),
            "bytes_per_client": arm.mean("bytes_per_client"),
            "seconds": arm.mean("seconds"),
        }
        for arm in arms
    ]


def _spread(arm: Arm, key: str) -> str:
    deviation = arm.deviation(key)
    return f"{arm.mean(key):.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 1 else f"{value:.1f}"


def _markdown(arms: Sequence[Arm]) -> str:
    columns, rows = arm_table(arms)
    lines = ["| run | " + " | ".join(columns) + " | notes |", "|" + "---|" * (len(columns) + 2)]
    notes: dict[str, int] = {}
    for arm, row in zip(arms, rows, strict=True):
        said = dict.fromkeys(text for one in arm.summaries for text in [*one["privacy"]["warnings"], *one["notes"]])
        numbers = [str(notes.setdefault(text, len(notes) + 1)) for text in said]
        lines.append(f"| {arm.name} | " + " | ".join(row) + f" | {', '.join(numbers)} |")
    delta = sorted({arm.summary["privacy"]["delta"] for arm in arms})
    lines += ["", f"Adjacency zero-out, delta {', '.join(f'{value:g}' for value in delta)}; ∞: no finite epsilon.", ""]
    return "\n".join([*lines, *(f"{number}. {text}" for text, number in notes.items())]) + "\n"
