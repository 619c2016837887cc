"""Runs of real commands, whole and broken in every way that `bench.leaks` knows, with secrets that are searched for.

Each case takes a `Scene` and gives what did not go as it had to (a case that does not reach its error tests nothing).
Its docstring says in the table what it is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

from bench.leaks.commands import ended, rounds_done, run_of
from bench.leaks.life import Life, Scene
from bench.leaks.party_cases import deployment, local_parties, wrong_keys
from bench.leaks.planted import POST, SEED, USER
from bench.leaks.task import FAULT

__all__ = ["CASES"]


def plaintext(scene: Scene) -> list[str]:
    """A whole run in the clear; its ledger, its report; --json."""
    found = ended(run_of(scene, "plain").run(), 0)
    folder = str(scene.seen / "run-plain")
    found += ended(Life(scene, "ledger", ["ledger", folder]).run(), 0)
    found += ended(Life(scene, "report", ["report", folder]).run(), 0)
    return found + ended(run_of(scene, "json", "--json", sections={"privacy": {"unit": "client"}}).run(), 0)


def seeded(scene: Scene) -> list[str]:
    """Test mode: the seed is in the configuration, and what is derived from it is nowhere."""
    return ended(run_of(scene, "seeded", sections={"privacy": {"insecure_seed": SEED}}).run(), 0)


def resumed(scene: Scene) -> list[str]:
    """Ctrl-C in the rounds, then --resume."""
    first = run_of(scene, "stopped").run(rounds_done(scene, "stopped", 2), lambda life: life.signal(signal.SIGINT))
    found = ended(first, 130, "--resume")
    return found + ended(run_of(scene, "stopped", "--resume").run(), 0)


def client_errors(scene: Scene) -> list[str]:
    """Gradients that are no numbers; an exception in the clients' code, whose local variables hold records."""
    found = ended(run_of(scene, "nan", environment={FAULT: "nan"}).run(), 0)
    broken = run_of(scene, "client-error", environment={FAULT: "error"}).run()
    return found + ended(broken, 1, "planted failure in the clients' code")


def aggregator_errors(scene: Scene) -> list[str]:
    """Exceptions where messages and noise are in local variables: in the aggregator, and where noise is drawn."""

    def aggregator() -> None:
        from secagg.aggregator import PlaintextAggregator

        honest, left = PlaintextAggregator.submit, [10]

        def submit(self: Any, message: Any) -> None:
            left[0] -= 1
            if not left[0]:
                raise RuntimeError(f"planted failure with {message!r}")
            honest(self, message)

        PlaintextAggregator.submit = submit  # type: ignore[method-assign, assignment]

    def noise() -> None:
        import fl_core.rounds

        def draw(how: Any, std: Any, length: int, own: Any) -> Any:
            raise RuntimeError(f"planted failure with {own!r}")

        fl_core.rounds.draw_noise = draw  # type: ignore[assignment]

    xnoise = {"noise": {"dropout": "xnoise"}, "federation": {"n_min": 6}}
    found = ended(run_of(scene, "aggregator-error", plant=aggregator, sections=xnoise).run(), 1, "planted failure")
    return found + ended(run_of(scene, "noise-error", plant=noise).run(), 1, "planted failure")


def disk_errors(scene: Scene) -> list[str]:
    """The disk is full from some round on: nothing that is written to the run folder comes to rest any more."""

    def full() -> None:
        honest, left = os.fsync, [25]

        def fsync(handle: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            honest(handle)

        os.fsync = fsync  # type: ignore[assignment]

    return ended(run_of(scene, "disk", plant=full).run(), 2, "error: ")


def workers(scene: Scene) -> list[str]:
    """Two worker processes; and one in which the clients' code fails, which sends its traceback."""
    two = {"engine": {"workers": 2}}
    found = ended(run_of(scene, "workers", sections=two).run(), 0)
    broken = run_of(scene, "worker-error", environment={FAULT: "error"}, sections=two).run()
    return found + ended(broken, 1, "planted failure in the clients' code")


def words(scene: Scene) -> list[str]:
    """Next-word prediction on posts of users; posts that cannot be read."""
    posts = scene.seen / "posts"
    posts.mkdir()
    train = [{"user": user, "text": f"{POST}. " * 3} for user in (USER, "b", "c", "d") for _ in range(8)]
    test = [{"user": user, "text": "public words of somebody else are scored here."} for user in "xy"]
    for name, lines in (("train", train), ("test", test)):
        (posts / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sections: dict[str, dict[str, Any]] = {
        "data": {"name": str(posts), "partition": "natural", "sequence_length": 12, "test_sequences": 4},
        "model": {"base": "mini"},
        "lora": {"targets": ["c_attn"], "blocks": [-1]},
        "federation": {"clients": 4, "rounds": 2},
        "engine": {"batch_size": 32, "cohort_size": None},
    }
    found = ended(run_of(scene, "words", small=False, sections=sections).run(), 0)
    bad = scene.seen / "bad-posts"
    shutil.copytree(posts, bad)
    for number, line in enumerate(
        (f'{{"user": "{USER}", "text": "{POST}}}', f'{{"user": "{USER}", "text": ["{POST}"]}}', POST)
    ):
        (bad / "train.jsonl").write_text(line + "\n")
        sections["data"]["name"] = str(bad)
        found += ended(run_of(scene, f"bad-words-{number}", small=False, sections=sections).run(), 2, "error: ")
    return found


CASES: dict[str, Callable[[Scene], list[str]]] = {
    case.__name__.replace("_", " "): case
    for case in (
        plaintext, seeded, resumed, client_errors, aggregator_errors, disk_errors, wrong_keys, words, deployment,
        local_parties, workers,
    )
}  # fmt: skip
