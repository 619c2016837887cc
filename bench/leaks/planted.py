"""The secrets of a scene: those that cases plant, those in key files, and those that the processes met.

Takes a scene whose lives have ended; gives what must be found nowhere but where `bench.leaks.allowed` says.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.leaks.life import Scene
from bench.leaks.search import Secret
from bench.leaks.task import RECORDS
from bench.leaks.watch import read_vault

__all__ = ["KEYS", "POST", "POSTS", "SEED", "SEEDS", "USER", "USERS", "planted"]

# Kinds, for tables.
KEYS, POSTS, USERS, SEEDS = "private keys of clients and members", "private posts", "users' names", "test-mode seed"
POST = "the heron at marsh gate seventeen never pays for its umbrella"
USER = "canary-user-quillfeather-0417"
SEED = 7_770_123_456_789_012


def planted(scene: Scene) -> list[Secret]:
    """All secrets of a scene: what its processes met, its key files, its records and posts."""
    keys = set()
    for path in scene.seen.rglob("*-key.pem"):
        if not path.is_file():
            continue
        try:
            keys.add(load_pem_private_key(path.read_bytes(), None).private_bytes_raw())  # type: ignore[union-attr]
        except ValueError:
            continue  # a damaged one
    secrets = [*read_vault(scene.vault), *(Secret(KEYS, key) for key in sorted(keys)), *RECORDS]
    return [*secrets, Secret(POSTS, POST), Secret(POSTS, POST[:28]), Secret(USERS, USER), Secret(SEEDS, str(SEED))]
