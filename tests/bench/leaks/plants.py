"""Leaks planted in the product, each of which `bench.leaks` must find; prints what it found as one JSON object.

A process of its own (`python -m tests.bench.leaks.plants FOLDER`): it forks, and a test session's threads would not
outlive that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import fl_core.engines.cohort_work as cohort_work
from bench.forks import warm_up
from bench.leaks.commands import ended, run_of
from bench.leaks.life import Life
from bench.leaks.trial import try_case
from fl_core.engines import round_loop


def plant():
    """A key in a message, a child's environment and a temporary file; a vector in a repr and beside a checkpoint."""
    contributions, save = cohort_work.cohort_contributions, round_loop.save_checkpoint
    cohort_work.Contributions.__repr__ = lambda self: f"Contributions({self.totals.tolist()})"
    kept = []

    def leak(task, theta, clients, streams, *more, **named):
        found = contributions(task, theta, clients, streams, *more, **named)
        if not kept:
            key = streams[0].export_key()
            print(f"key {key.hex()}", file=sys.stderr)
            with tempfile.NamedTemporaryFile() as file:
                file.write(key)
                file.flush()
                subprocess.run(["/bin/sleep", "0.5"], env={"KEY": key.hex()})
        kept.append(found.totals[0].copy())
        return found

    def beside(folder, *more):
        Path(folder, "extra.bin").write_bytes(kept[-1].astype("<f4").tobytes())
        return save(folder, *more)

    cohort_work.cohort_contributions, round_loop.save_checkpoint = leak, beside


def small(scene):
    """One short run in the clear."""
    xnoise = {"federation": {"rounds": 2, "n_min": 6}, "noise": {"dropout": "xnoise"}}
    return ended(run_of(scene, "small", sections=xnoise).run(), 0)


def keys(scene):
    """Keys of a deployment, and a copy that others can read."""
    folder = scene.seen / "deployment"
    words = ["party", "init", str(folder), "--address", "127.0.0.1:7101", "--address", "127.0.0.1:7102"]
    wrong = ended(Life(scene, "init", words).run(), 0)
    key = folder / "party-0" / "sealing-key.pem"
    (folder / "note.txt").write_text("".join(key.read_text().splitlines()[1:-1]))
    key.chmod(0o644)
    return wrong


def main() -> None:
    scratch = Path(sys.argv[1]).resolve()
    warm_up()
    found = {name: try_case(small, scratch / name, what) for name, what in (("planted", plant), ("clean", None))}
    found["keys"] = try_case(keys, scratch / "keys")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
