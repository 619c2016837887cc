"""Commands of `bench.leaks`: runs of a small configuration, parties, and whether they ended as they had to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench.leaks.life import Life, Scene

__all__ = ["ended", "listening", "party_of", "rounds_done", "run_of"]

_BASE: dict[str, Any] = {
    "lora": {"rank": 2, "alpha": 4.0, "targets": ["fc"]},
    "federation": {"clients": 8, "rounds": 6, "sample_rate": 0.9},
    "privacy": {"noise_multiplier": 1.0, "delta": 1e-3},
    "server": {"optimizer": "adam", "learning_rate": 0.1},
    "aggregation": {"backend": "plaintext"},
    "engine": {"threads": 1, "cohort_size": 4},
}


def run_of(scene: Scene, name: str, *words: str, sections: dict[str, Any] | None = None, **more: Any) -> Life:
    """`sotto run` in a folder named after the life, of the small configuration with these sections added to its own."""
    config = scene.seen / f"{name}.yaml"
    config.write_text(OmegaConf.to_yaml(OmegaConf.merge(_BASE, sections or {})))
    return Life(scene, name, ["run", str(config), "--out", str(scene.seen / f"run-{name}"), *words], **more)


def ended(life: Life, status: int, says: str = "") -> list[str]:
    """What is wrong with how a life ended: its exit code, or words that it does not say."""
    wrong, said = [], life.output()
    if life.status != status:
        wrong.append(f"{life.name} ended with {life.status}, not {status}: {said[-600:]}")
    if says not in said:
        wrong.append(f"{life.name} does not say {says!r}: {said[-600:]}")
    return wrong


def rounds_done(scene: Scene, name: str, count: int) -> Callable[[], bool]:
    """Whether a run has done so many rounds, for `Life.run`."""
    path = scene.seen / f"run-{name}" / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count


def party_of(scene: Scene, folder: Path, rank: int, name: str, plant: Callable[[], None] | None) -> Life:
    """A party of a deployment, started."""
    arguments = ["party", "--config", str(folder / "parties.yaml"), "--rank", str(rank)]
    return Life(scene, name, arguments, plant=plant).start()


def listening(parties: list[Life]) -> list[str]:
    """Wait until all parties listen; what is wrong if one does not."""
    deadline = time.monotonic() + 60
    for party in parties:
        while "listens on" not in party.output():
            if not party.look() or time.monotonic() > deadline:
                return [f"{party.name} does not listen: {party.output()[-600:]}"]
    return []
