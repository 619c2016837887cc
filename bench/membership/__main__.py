"""Can the released model tell whose posts it was trained on? Loss attacks on real posts, with and without privacy.

`python -m bench.membership --out DIR --seeds 1 2 3` writes `membership.json`, `membership.md` and `membership.png`.
Each seed draws candidates among Stack Overflow's users and a fair coin for each sequence (or user); every arm then
fine-tunes the product's next-word model on those whose coins say so, and attacks what it released. Runs are kept in
DIR/runs: one that was killed is resumed, one that has ended is not run again. Exit code 1 if an attack did better than
the claimed epsilon allows, or found members where there are none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.command import parser_of, say, seconds_left
from bench.measure import environment
from bench.membership.candidates import all_sequences, candidates_of
from bench.membership.design import Arm, Design, config_of
from bench.membership.figure import draw
from bench.membership.losses import base_losses, released_losses
from bench.membership.page import membership_page
from bench.membership.rows import Repetition, control_row, null_row, row_of
from bench.membership.runs import train
from bench.records import store
from experiments.terminal_progress import RoundProgress
from fl_core.privacy.ledger import read_ledger
from secagg.errors import SottoError

__all__ = ["ARMS", "DESIGN", "main", "measure"]

DESIGN = Design(
    data="stackoverflow",
    users=100,
    sequences=8,
    shortest=8,
    overrides={
        "lora": {"rank": 4, "alpha": 8.0, "targets": ["c_attn", "c_proj", "c_fc"]},
        "federation": {"rounds": 200, "sample_rate": 0.1},
        "server": {"optimizer": "adam"},
        "engine": {"eval_every": 200, "checkpoint_every": 20, "threads": 1},
        "simulation": {"noise": "aggregate"},
    },
    units={"example": {}, "client": {"client": {"steps": 1, "batch_size": 16, "learning_rate": 1.0}}},
)
# The first arm of a unit learns fast enough to memorise; the others as fast as noise allows.
ARMS = (
    Arm("record-memorised", "example", None, 0.02),
    Arm("record-none", "example", None, 0.003),
    Arm("record-eps8", "example", 8.0, 0.003),
    Arm("record-eps2", "example", 2.0, 0.003),
    Arm("user-memorised", "client", None, 0.02),
    Arm("user-none", "client", None, 0.002),
    Arm("user-eps8", "client", 8.0, 0.002),
)


def measure(design: Design, arms: Sequence[Arm], seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Every arm with every seed, one seed after another; rows by arm, and null rows by unit.

    Raises:
        SottoError: if the posts are not there, or a run fails.
    """
    sequences = all_sequences(config_of(design, arms[0], 0))
    found: dict[str, list[Repetition]] = {arm.name: [] for arm in arms}
    done, started = 0, time.monotonic()
    for seed in seeds:
        before = None
        for arm in arms:
            candidates = candidates_of(sequences, design, arm.unit, seed)
            config = config_of(design, arm, seed)
            folder = out / "runs" / f"{arm.name}@{seed}"
            with RoundProgress(config.federation.rounds, silent=False, title=folder.name) as progress:
                summary = train(config, sequences, candidates, folder, progress)
            before = base_losses(config, candidates) if before is None else before  # the same candidates in every arm
            after = released_losses(folder, candidates)
            contents = read_ledger(folder / "ledger.jsonl")
            found[arm.name].append(Repetition(seed, candidates, before, after, summary, contents))
            done += 1
            left = seconds_left(started, done, len(seeds) * len(arms))
            say(f"membership: {done} runs done, about {left / 60:.0f} minutes left")
    rows = {arm.name: row_of(arm, found[arm.name]) for arm in arms}
    nulls: dict[str, Any] = {}
    for arm in arms:
        if arm.epsilon is None and arm.unit not in {null["unit"] for null in nulls.values()}:
            nulls[f"null-{arm.unit}"] = null_row(arm, found[arm.name])
    controls = {
        f"{free.name} as {private.name}": control_row(free, found[free.name], private, found[private.name])
        for free in arms
        for private in arms
        if free.epsilon is None and private.epsilon is not None and free.unit == private.unit
    }
    drawn = {"data": design.data, "users": design.users, "sequences": design.sequences, "shortest": design.shortest}
    drawn["length"] = int(sequences.ids.shape[1])
    return {"design": drawn, "rows": rows, "nulls": nulls, "controls": controls}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    torch.set_num_threads(1)
    arms = [arm for arm in ARMS if arm.name in options.arms]
    command = f"python -m bench.membership --out DIR --seeds {' '.join(map(str, options.seeds))}"
    if len(arms) < len(ARMS):
        command += f" --arms {' '.join(arm.name for arm in arms)}"
    try:
        part = measure(DESIGN, arms, options.seeds, options.out)
    except SottoError as error:
        say(f"error: {error}")
        return 2
    for row in [*part["rows"].values(), *part["nulls"].values(), *part["controls"].values()]:
        row["command"] = command
    return report(part, options.out, command)


def report(part: dict[str, Any], out: Path, command: str) -> int:
    """Write everything; 1 if something did not hold."""
    path = out / "membership.json"
    part = {"environment": [environment("cpu")], "command": command, **part}
    store(path, part)
    draw(part, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(membership_page(part))
    broken = [f"{name}: {what}" for name, row in (part["rows"] | part["nulls"]).items() for what in row["violations"]]
    for what in broken:
        say(what)
    return int(bool(broken))


def _options() -> argparse.ArgumentParser:
    parser = parser_of("membership", __doc__, "results, and for runs to go on with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one repetition of every arm each")
    names = [arm.name for arm in ARMS]
    parser.add_argument("--arms", nargs="+", choices=names, default=names, help="default: all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
