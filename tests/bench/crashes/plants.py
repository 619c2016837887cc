"""Faults planted in the product, each of which `bench.crashes` must find; prints what it found as one JSON object.

A process of its own (`python -m tests.bench.crashes.plants FOLDER`): it forks, and a test session's threads would not
outlive that.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import fl_core.engines.round_loop as round_loop
import fl_core.rounds
from bench.crashes.disk import Disk, why_no_disk
from bench.crashes.faults import power_cut, run_killed
from bench.crashes.hooks import Kill
from bench.crashes.page import summary_of
from bench.crashes.trials import Place, measure_reference, run_trial
from bench.forks import warm_up
from bench.small_run import small_config
from experiments import runs
from fl_core import checkpoint, storage
from fl_core.engines.local import LocalClients
from fl_core.optimizers import initial_state
from secagg.randomness import Keystream


def entry_after_opening():
    honest = LocalClients.open_sum

    def late(self, request, aggregator, before_opening):
        opened = honest(self, request, aggregator, lambda clients: None)
        before_opening(opened.clients)
        return opened

    LocalClients.open_sum = late


def noise_from_the_start_again():
    """A generator that a new process begins where every process began."""
    honest, streams = fl_core.rounds.draw_noise, Keystream.seeded(3)
    calls = iter(range(10**9))
    fl_core.rounds.draw_noise = lambda how, std, length, own: honest(how, std, length, streams.child(next(calls)))


def stream_without_openings():
    honest = round_loop.attempt_stream
    round_loop.attempt_stream = lambda random, number, openings, attempt: honest(random, number, 0, attempt)


def checkpoint_in_place():
    def write(path, data):
        with path.open("wb") as handle:
            for part in (data[:300], data[300:]):
                handle.write(part)
                handle.flush()
                storage.os.fsync(handle.fileno())

    checkpoint.write_atomically = write


def optimiser_forgotten():
    honest = runs.latest_checkpoint

    def latest(folder):
        found = honest(folder)
        return found and replace(found, optimizer=initial_state(len(found.theta)))

    runs.latest_checkpoint = latest


def lock_not_taken():
    class Unlocked:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(*_):
            pass

    storage.fcntl = Unlocked


# Plant, where the run is killed, share of lives in which a second process is tried.
PLANTS = {
    "entry after opening": (entry_after_opening, Kill("opened", 2), 0.0),
    "noise from the start again": (noise_from_the_start_again, Kill("replace checkpoint", 2, "after"), 0.0),
    "stream without openings": (stream_without_openings, Kill("opened", 2), 0.0),
    "checkpoint in place": (checkpoint_in_place, Kill("fsync checkpoint", 3, "after"), 0.0),
    "optimiser forgotten": (optimiser_forgotten, Kill("replace checkpoint", 3, "after"), 0.0),
    "lock not taken": (lock_not_taken, Kill("opened", 99), 1.0),  # never reached: the second process needs time
}


def main() -> None:
    scratch = Path(sys.argv[1]).resolve()
    warm_up()
    place = Place(scratch / "run", scratch / "log", small_config(rounds=7))
    reference = measure_reference(place)
    found = {}
    for name, (plant, kill, rivals) in PLANTS.items():
        fault = replace(run_killed(), kill=lambda draw, kill=kill: kill, most=1, rivals=rivals)
        found[name] = run_trial(fault, replace(place, plant=plant), reference, name).violations
    trials = []
    while sum(len(trial.faults) for trial in trials) < 10:
        trials.append(run_trial(run_killed(), place, reference, f"clean/{len(trials)}"))
    found["clean"] = summary_of([asdict(trial) for trial in trials])
    if why_no_disk() is None:
        found["power"] = _power(scratch)
    print(json.dumps(found))


def _power(scratch: Path) -> dict[str, list[str]]:
    """A configuration that is written without a sync, and one that is not, when the power is cut in the rounds."""
    with Disk(scratch) as disk:
        place = Place(disk.path / "run", scratch / "log", small_config(rounds=7))
        reference = measure_reference(place)

        def forgetful():
            from omegaconf import OmegaConf

            runs.save_config = lambda config, path: path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))

        return {
            name: run_trial(power_cut(disk), replace(place, plant=plant), reference, "power/0").violations
            for name, plant in (("planted", forgetful), ("clean", None))
        }


if __name__ == "__main__":
    main()
