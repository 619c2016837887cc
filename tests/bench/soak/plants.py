"""Faults planted in the product, each of which `bench.soak` must find; prints what it found as one JSON object.

A process of its own (`python -m tests.bench.soak.plants FOLDER`): it forks, and a test session's threads would not
outlive that.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import bench.soak.coordinator
import bench.soak.crowd  # noqa: F401
import experiments.commands.party  # noqa: F401
import secagg.party.daemon  # noqa: F401
from bench.crashes.victim import Life, start
from bench.forks import warm_up
from bench.small_run import small_config
from bench.soak.clients import run_clients
from bench.soak.deployment import Load
from bench.soak.rounds import summary_of, watch
from bench.soak.verdict import Limits
from fl_core.engines.round_loop import RoundLoop
from secagg.party.share_sum import ShareSum

LEAKED = []
# Rounds of milliseconds: their processor time is below the kernel's tick, and memory settles in steps of pages.
LIMITS = Limits(bytes_a_round=32 * 1024, cpu_growth=math.inf)
LOAD = {"clients": 6, "n_min": 3, "length": 64, "wait_s": 0.2, "party_s": 3.0, "harm_s": 0.6, "quiet_s": 0.5}


def descriptor_a_round():
    after_every_round(lambda: LEAKED.append(os.open(os.devnull, os.O_RDONLY)))


def memory_a_round():
    after_every_round(lambda: LEAKED.append(os.urandom(100 * 1024)))


def after_every_round(leak):
    honest = RoundLoop._round

    def leaking(self, number):
        leak()
        return honest(self, number)

    RoundLoop._round = leaking


def one_too_many():
    honest = ShareSum.share

    def wrong(self):
        share = honest(self)
        share[0] += 1
        return share

    ShareSum.share = wrong


def rounds(folder, plant, number=80):
    victim = start(Life(folder / "run", folder / "log", small_config(rounds=number), plant=plant))
    found = watch(
        victim.pid, lambda: 0 if victim.wait(0.0) else None, folder / "run", number, None, 60.0, lambda text: None, 0.02
    )
    return summary_of(found, folder / "run", number, LIMITS)


def clients(folder, seconds, plants):
    row, _ = run_clients(Load(seconds, forked=True, plants=plants, **LOAD), folder, "7", lambda text: None)
    return row


def main():
    scratch = Path(sys.argv[1]).resolve()
    warm_up()
    found = {}
    for name, plant in (("clean", None), ("descriptor", descriptor_a_round), ("memory", memory_a_round)):
        (scratch / name).mkdir()
        found[name] = rounds(scratch / name, plant)
    found["clients"] = clients(scratch / "load", 3.0, {})
    found["wrong sum"] = clients(scratch / "wrong", 1.5, {"party 1": one_too_many})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
