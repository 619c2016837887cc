"""Cases of `bench.leaks` under SMPC: parties of the run's own, parties of a deployment, and keys that are wrong."""

from __future__ import annotations

import importlib
import shutil
import signal
from pathlib import Path
from typing import Any

from bench.leaks.commands import ended, listening, party_of, rounds_done, run_of
from bench.leaks.life import Life, Scene
from bench.ports import free_ports
from secagg.deployment.new_keys import SEALING_KEY, TLS_KEY

__all__ = ["deployment", "local_parties", "wrong_keys"]


def local_parties(scene: Scene) -> list[str]:
    """SMPC with parties that the run starts for itself, and a dealer for norm checks; noise by the parties."""
    sections = {
        "aggregation": {"backend": "smpc", "parties": 2, "norm_check": True, "timeout_s": 60.0},
        "privacy": {"unit": "client"},
        "noise": {"by": "aggregators"},
        "federation": {"rounds": 3},
    }
    return ended(run_of(scene, "local-parties", sections=sections).run(), 0)


def deployment(scene: Scene) -> list[str]:
    """`sotto party init`, two real parties, XNoise over them; a party killed in a round; one whose code fails."""
    folder = scene.seen / "deployment"
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    words = ["party", "init", str(folder)]
    for address in addresses:
        words += ["--address", address]
    found = ended(Life(scene, "init", [*words, "--timeout", "15"]).run(), 0)
    found += ended(Life(scene, "show", ["party", "show", str(folder / "parties.yaml")]).run(), 0)

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
        parties = [party_of(scene, folder, rank, f"{name}-party-{rank}", plant if rank else None) for rank in range(2)]
        try:
            found += listening(parties)
            run = run_of(scene, name, sections=smpc)
            act = (lambda _, victim=parties[1]: victim.signal(signal.SIGKILL)) if kill else None
            run.run(rounds_done(scene, name, 2) if kill else None, act)
            found += ended(run, status)
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
    found = ended(Life(scene, "wrong-init", words).run(), 0)
    party = ["party", "--config", str(folder / "parties.yaml"), "--rank", "0", "--keys"]
    found += ended(Life(scene, "other-party", [*party, str(folder / "party-1")]).run(), 2, "error: ")
    for name, change in (
        ("readable", lambda path: path.chmod(0o644)),
        ("damaged", lambda path: path.write_bytes(path.read_bytes()[:-40])),
        ("swapped", lambda path: path.write_bytes((folder / "party-1" / path.name).read_bytes())),
    ):
        for key in (TLS_KEY, SEALING_KEY):
            copy = folder / f"{name}-{Path(key).stem}"
            shutil.copytree(folder / "party-0", copy)
            change(copy / key)
            found += ended(Life(scene, f"{name}-{key}", [*party, str(copy)]).run(), 2, "error: ")
    (folder / "coordinator" / TLS_KEY).write_bytes((folder / "party-1" / TLS_KEY).read_bytes())
    smpc = {"aggregation": {"backend": "smpc", "parties": 2, "deployment": str(folder)}}
    found += ended(run_of(scene, "wrong-coordinator", sections=smpc).run(), 2, "error: ")
    for path in folder.rglob("*key.pem"):
        path.chmod(0o600)  # what this case opened to others itself
    return found
