"""Runs of real commands, whole and broken in every way that `bench.leaks` knows, with secrets that are searched for.

Each case takes a `Scene` and gives what did not go as it had to (a case that does not reach its error tests nothing).
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench.leaks.life import Life, Scene
from bench.leaks.task import FAULT
from secagg.party.new_keys import SEALING_KEY, TLS_KEY

__all__ = ["CASES", "POST", "SEED", "USER", "write_config"]

POST = "the heron at marsh gate seventeen never pays for its umbrella"
USER = "canary-user-quillfeather-0417"
SEED = 7_770_123_456_789_012
_ROUNDS = 6
_BASE: dict[str, Any] = {
    "lora": {"rank": 2, "alpha": 4.0, "targets": ["fc"]},
    "federation": {"clients": 8, "rounds": _ROUNDS, "sample_rate": 0.9},
    "privacy": {"noise_multiplier": 1.0, "delta": 1e-3},
    "server": {"optimizer": "adam", "learning_rate": 0.1},
    "aggregation": {"backend": "plaintext"},
    "engine": {"threads": 1, "cohort_size": 4},
}


def write_config(scene: Scene, name: str, **sections: dict[str, Any]) -> Path:
    """A configuration of the small run; sections are added to its own."""
    path = scene.seen / f"{name}.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.merge(_BASE, sections)))
    return path


def _run(scene: Scene, name: str, *words: str, plant: Callable[[], None] | None = None, **more: Any) -> Life:
    sections = more.pop("sections", {})
    config = write_config(scene, name, **sections)
    words = ("run", str(config), "--out", str(scene.seen / f"run-{name}"), *words)
    return Life(scene, name, words, plant=plant, **more)


def _ended(life: Life, status: int, says: str = "") -> list[str]:
    wrong = (
        [] if life.status == status else [f"{life.name} ended with {life.status}, not {status}: {life.output()[-600:]}"]
    )
    return wrong if says in life.output() else [*wrong, f"{life.name} does not say {says!r}: {life.output()[-600:]}"]


def _rounds(scene: Scene, name: str, count: int) -> Callable[[], bool]:
    path = scene.seen / f"run-{name}" / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count


def plaintext(scene: Scene) -> list[str]:
    """A whole run in the clear; its ledger, its report; --json."""
    found = _ended(_run(scene, "plain").run(), 0)
    folder = str(scene.seen / "run-plain")
    found += _ended(Life(scene, "ledger", ["ledger", folder]).run(), 0)
    found += _ended(Life(scene, "report", ["report", folder]).run(), 0)
    return found + _ended(_run(scene, "json", "--json", sections={"privacy": {"unit": "client"}}).run(), 0)


def seeded(scene: Scene) -> list[str]:
    """Test mode: the seed is in the configuration, and what is derived from it is nowhere."""
    return _ended(_run(scene, "seeded", sections={"privacy": {"insecure_seed": SEED}}).run(), 0)


def resumed(scene: Scene) -> list[str]:
    """Ctrl-C in the rounds, then --resume."""
    first = _run(scene, "stopped").run(_rounds(scene, "stopped", 2), lambda life: life.signal(signal.SIGINT))
    found = _ended(first, 130, "--resume")
    return found + _ended(_run(scene, "stopped", "--resume").run(), 0)


def client_errors(scene: Scene) -> list[str]:
    """Gradients that are no numbers; an exception in the clients' code, whose local variables hold records."""
    found = _ended(_run(scene, "nan", environment={FAULT: "nan"}).run(), 0)
    broken = _run(scene, "client-error", environment={FAULT: "error"}).run()
    return found + _ended(broken, 1, "planted failure in the clients' code")


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
    found = _ended(_run(scene, "aggregator-error", plant=aggregator, sections=xnoise).run(), 1, "planted failure")
    return found + _ended(_run(scene, "noise-error", plant=noise).run(), 1, "planted failure")


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

    return _ended(_run(scene, "disk", plant=full).run(), 2, "error: ")


def workers(scene: Scene) -> list[str]:
    """Two worker processes; and one in which the clients' code fails, which sends its traceback."""
    two = {"engine": {"workers": 2}}
    found = _ended(_run(scene, "workers", sections=two).run(), 0)
    broken = _run(scene, "worker-error", environment={FAULT: "error"}, sections=two).run()
    return found + _ended(broken, 1, "planted failure in the clients' code")


def local_parties(scene: Scene) -> list[str]:
    """SMPC with parties that the run starts for itself, and a dealer for norm checks; noise by the parties."""
    found = _ended(
        _run(
            scene,
            "local-parties",
            sections={
                "aggregation": {"backend": "smpc", "parties": 2, "norm_check": True, "timeout_s": 60.0},
                "privacy": {"unit": "client"},
                "noise": {"by": "aggregators"},
                "federation": {"rounds": 3},
            },
        ).run(),
        0,
    )
    return found


def deployment(scene: Scene) -> list[str]:
    """`sotto party init`, two real parties, XNoise over them; a party killed in a round; one whose code fails."""
    folder = scene.seen / "deployment"
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    words = ["party", "init", str(folder)]
    for address in addresses:
        words += ["--address", address]
    found = _ended(Life(scene, "init", [*words, "--timeout", "15"]).run(), 0)
    found += _ended(Life(scene, "show", ["party", "show", str(folder / "parties.yaml")]).run(), 0)

    def failing() -> None:
        intake: Any = importlib.import_module("secagg.party.intake")

        opened, left = intake.open_part, [20]

        def open_part(*arguments: Any) -> Any:
            left[0] -= 1
            part = opened(*arguments)
            if not left[0]:
                raise RuntimeError(f"planted failure with {part!r}")
            return part

        intake.open_part = open_part

    smpc = {
        "aggregation": {"backend": "smpc", "parties": 2, "deployment": str(folder), "timeout_s": 15.0, "retries": 0},
        "noise": {"dropout": "xnoise"},
        "federation": {"n_min": 6},
    }
    for name, plant, kill, status in (
        ("deployed", None, False, 0), ("party-killed", None, True, 2), ("party-error", failing, False, 2)
    ):  # fmt: skip
        parties = [_party(scene, folder, rank, f"{name}-party-{rank}", plant if rank else None) for rank in range(2)]
        try:
            found += _listening(parties)
            run = _run(scene, name, sections=smpc)
            act = (lambda _, victim=parties[1]: victim.signal(signal.SIGKILL)) if kill else None
            run.run(_rounds(scene, name, 2) if kill else None, act)
            found += _ended(run, status)
            if plant is not None and "planted failure" not in parties[1].output():
                found.append(f"the party's log does not have its failure: {parties[1].output()[-600:]}")
        finally:
            for party in parties:
                party.look()
                party.signal(signal.SIGKILL)
                while party.look():
                    pass
    return found


def wrong_keys(scene: Scene) -> list[str]:
    """Keys of another member, keys that others can read, damaged ones; as party and as coordinator."""
    folder = scene.seen / "wrong-keys"
    words = ["party", "init", str(folder), "--address", "127.0.0.1:7101", "--address", "127.0.0.1:7102"]
    found = _ended(Life(scene, "wrong-init", words).run(), 0)
    party = ["party", "--config", str(folder / "parties.yaml"), "--rank", "0", "--keys"]
    found += _ended(Life(scene, "other-party", [*party, str(folder / "party-1")]).run(), 2, "error: ")
    for name, change in (
        ("readable", lambda path: path.chmod(0o644)),
        ("damaged", lambda path: path.write_bytes(path.read_bytes()[:-40])),
        ("swapped", lambda path: path.write_bytes((folder / "party-1" / path.name).read_bytes())),
    ):
        for key in (TLS_KEY, SEALING_KEY):
            copy = folder / f"{name}-{Path(key).stem}"
            shutil.copytree(folder / "party-0", copy)
            change(copy / key)
            found += _ended(Life(scene, f"{name}-{key}", [*party, str(copy)]).run(), 2, "error: ")
    (folder / "coordinator" / TLS_KEY).write_bytes((folder / "party-1" / TLS_KEY).read_bytes())
    smpc = {"aggregation": {"backend": "smpc", "parties": 2, "deployment": str(folder)}}
    found += _ended(_run(scene, "wrong-coordinator", sections=smpc).run(), 2, "error: ")
    for path in folder.rglob("*key.pem"):
        path.chmod(0o600)  # what this case opened to others itself
    return found


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
    found = _ended(_run(scene, "words", small=False, sections=sections).run(), 0)
    bad = scene.seen / "bad-posts"
    shutil.copytree(posts, bad)
    for number, line in enumerate(
        (f'{{"user": "{USER}", "text": "{POST}}}', f'{{"user": "{USER}", "text": ["{POST}"]}}', POST)
    ):
        (bad / "train.jsonl").write_text(line + "\n")
        sections["data"]["name"] = str(bad)
        found += _ended(_run(scene, f"bad-words-{number}", small=False, sections=sections).run(), 2, "error: ")
    return found


@dataclass(frozen=True)
class Case:
    """One of the runs.

    Attributes:
        run: does it.
        parts: what it is, for the table: the function's first line.
    """

    run: Callable[[Scene], list[str]]

    @property
    def parts(self) -> str:
        return (self.run.__doc__ or "").strip()


CASES = {
    case.__name__.replace("_", " "): Case(case)
    for case in (
        plaintext, seeded, resumed, client_errors, aggregator_errors, disk_errors, wrong_keys, words, deployment,
        local_parties, workers,
    )
}  # fmt: skip


def _party(scene: Scene, folder: Path, rank: int, name: str, plant: Callable[[], None] | None) -> Life:
    arguments = ["party", "--config", str(folder / "parties.yaml"), "--rank", str(rank)]
    return Life(scene, name, arguments, plant=plant).start()


def _listening(parties: list[Life]) -> list[str]:
    deadline = time.monotonic() + 60
    for party in parties:
        while "listens on" not in party.output():
            if not party.look() or time.monotonic() > deadline:
                return [f"{party.name} does not listen: {party.output()[-600:]}"]
    return []


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in taken]
    for each in taken:
        each.close()
    return ports
