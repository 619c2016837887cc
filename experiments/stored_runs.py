"""Runs as they were left on disk: finished run folders, and the `runs.json` of a report.

Takes places; gives each run's name, metrics by round and summary, checked, and where its ledger is. Nothing is written,
and nothing that is damaged is left out in silence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.arms import Run
from experiments.stored_summary import check_curve, check_summary, writable
from fl_core.tracking import read_metrics
from secagg.errors import SottoError

__all__ = ["has_begun", "has_ended", "ledgers_of", "load_runs"]

_SUMMARY = "summary.json"


def has_begun(folder: Path) -> bool:
    """Whether a folder holds a run that can be gone on with, or has ended: its configuration follows its ledger."""
    return (folder / "config.yaml").exists()


def has_ended(folder: Path) -> bool:
    """Whether a folder holds a run with all that it leaves: the summary is written last."""
    return (folder / _SUMMARY).exists()


def load_runs(places: Sequence[Path]) -> list[Run]:
    """(name, metrics rows, summary) of finished runs: from run folders, or from a report's `runs.json`.

    Raises:
        SottoError: if a folder holds no finished run or a damaged one, or a file is no `runs.json`.
    """
    runs: list[Run] = []
    for place in places:
        if place.is_file():
            runs += _of_report(place)
            continue
        path = place / _SUMMARY
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
    return Path(os.path.abspath(folder)).name  # `.` and `..` are places too


def _of_report(path: Path) -> list[Run]:
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
