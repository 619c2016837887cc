"""Feeds what nobody should have sent to every reader of Sotto, and counts what comes of it.

`python -m bench.fuzz --out DIR --tries N --seed S` writes `fuzz.json` and `fuzz.md`. Every input must be refused in a
sentence that names the place, or be accepted with a meaning that is right; never another exception, a hang, or memory
beyond the bound. A try is repeated by its seed: `--only SEED`; inputs that broke something are kept below `DIR/fuzz`.
Exit code 1 if anything did. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.command import add_scratch, add_seed, parser_of, say, seconds_left
from bench.fuzz.children import Tally, case_of, try_surface
from bench.fuzz.oracle import Meter, Surface, try_one
from bench.fuzz.page import fuzz_page
from bench.fuzz.surfaces import adapters, configs, data, flower_node, ledgers, messages, models, party_files, run_files
from bench.measure import environment
from bench.records import load_by_name, store

__all__ = ["SURFACES", "main"]

# What is made by each: a surface, given a folder of its own.
SURFACES: dict[str, Callable[[Path], Surface]] = {
    "parts": messages.sealed_parts,
    "specs": messages.specs,
    "frames": messages.frames,
    "party": messages.party_frames,
    "flower": flower_node.node_questions,
    "deployment": party_files.deployment_file,
    "cards": party_files.card_files,
    "roster": party_files.roster_file,
    "keys": party_files.key_files,
    "journal": party_files.journal_file,
    "config": configs.config_file,
    "overrides": configs.overrides,
    "sweep": configs.sweep_file,
    "recipe": configs.recipe_file,
    "ledger": ledgers.ledger_file,
    "head": ledgers.ledger_with_head,
    "chained": ledgers.ledger_chained_again,
    "budget": ledgers.budget_folder,
    "history": ledgers.history_file,
    "checkpoint": run_files.checkpoint_file,
    "resume": run_files.resumed_checkpoint,
    "metrics": run_files.metrics_file,
    "summary": run_files.summary_file,
    "runs": run_files.runs_file,
    "adapter": adapters.adapter_folder,
    "idx": data.idx_file,
    "posts": data.posts_file,
    "text": data.text_file,
    "tokenizer": data.tokenizer_folder,
    "gpt2": data.gpt2_files,
    "rows": models.row_file,
    "base": models.cached_base,
    "training": models.training_checkpoint,
    "tokens": models.training_tokens,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = _options()
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.only is not None:
        if options.only.split("/")[1:2] not in [[name] for name in SURFACES]:
            parser.error(f"--only is {options.only!r}; allowed: a try's seed, such as 27/parts/3")
        return _repeat(options.only, options.scratch)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "fuzz.json"
    part = load_by_name(path)
    part["environment"] = [environment("cpu")]
    failed = False
    for name in options.surfaces:
        with tempfile.TemporaryDirectory(prefix="sotto-fuzz-", dir=options.scratch) as scratch:
            surface = SURFACES[name](Path(scratch).resolve() / name)
            tries = max(1, round(surface.tries * options.tries))
            seeds = [f"{options.seed}/{name}/{number}" for number in range(tries)]
            started = time.monotonic()
            tally = try_surface(surface, seeds, _shown(name, tries, started))
            _keep_inputs(surface, tally, options.out / "fuzz")
        command = f"python -m bench.fuzz --out DIR --surfaces {name} --tries {options.tries:g} --seed {options.seed}"
        row = {"what": surface.what, **asdict(tally), "room": surface.limits.room, "command": command}
        part["rows"][name] = row | {"seconds": round(time.monotonic() - started, 1)}
        part["rows"] = {known: part["rows"][known] for known in SURFACES if known in part["rows"]}
        failed |= bool(tally.violations)
        store(path, part)
        path.with_suffix(".md").write_text(fuzz_page(part))
    return int(failed)


def _repeat(seed: str, scratch: Path | None) -> int:
    """One try in this process, with all that it says."""
    name = seed.split("/")[1]
    with tempfile.TemporaryDirectory(prefix="sotto-fuzz-", dir=scratch) as folder:
        surface = SURFACES[name](Path(folder).resolve() / name)
        case = case_of(surface, seed)
        print(f"input: {case!r}"[:4000])
        outcome = try_one(surface, case, Meter())
        print(outcome)
        if outcome.violation is not None or outcome.refused:
            surface.read(case)  # for its traceback
    return 0


def _keep_inputs(surface: Surface, tally: Tally, folder: Path) -> None:
    """Write the inputs of violations beside the result: some hold keys that another process draws otherwise."""
    for found in tally.violations[:20]:
        folder.mkdir(parents=True, exist_ok=True)
        case: Any = case_of(surface, found["seed"])
        file = folder / f"{found['seed'].replace('/', '-')}.bin"
        file.write_bytes(case if isinstance(case, bytes) else repr(case).encode("utf-8", "backslashreplace"))


def _shown(name: str, tries: int, started: float) -> Callable[[Tally], None]:
    def show(tally: Tally) -> None:
        left = seconds_left(started, tally.tried, tries)
        say(f"{name}: {tally.tried} of {tries} tries, {len(tally.violations)} violations, {left:.0f} s left")

    return show


def _options() -> argparse.ArgumentParser:
    parser = parser_of("fuzz", __doc__)
    parser.add_argument("--out", type=Path, default=Path(os.curdir), help="folder for fuzz.json and fuzz.md")
    parser.add_argument("--tries", type=float, default=1.0, help="1: every surface's own number, 0.01: a hundredth")
    add_seed(parser)
    parser.add_argument("--surfaces", nargs="+", choices=SURFACES, default=list(SURFACES), help="default: all")
    parser.add_argument("--only", metavar="SEED", help="repeat the one try of this seed")
    add_scratch(parser, "files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
