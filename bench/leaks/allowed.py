"""The only places where a secret may be, each with the reason."""

from __future__ import annotations

from bench.leaks.planted import KEYS, POSTS, SEEDS, USERS
from bench.leaks.search import Found

__all__ = ["allowed"]

# (kind, part of the path, why)
_ALLOWED = (
    (KEYS, "-key.pem", "key files, mode 600 in folders of mode 700"),
    (POSTS, "/posts/", "the private data"),
    (USERS, "/posts/", "the private data"),
    (POSTS, "/bad-posts/", "the private data"),
    (USERS, "/bad-posts/", "the private data"),
    (SEEDS, "/seeded.yaml", "the user's configuration"),
    (SEEDS, "/reprs/seeded", "the printed configuration: the run says that it is not private"),
    (SEEDS, "/run-seeded/config.yaml", "the run's configuration: the run says that it is not private"),
    (SEEDS, "/run-seeded/summary.json", "the run's configuration: the run says that it is not private"),
)


def allowed(found: Found) -> str | None:
    """Why a find is where it may be; None if it is not."""
    return next((why for kind, part, why in _ALLOWED if kind == found.kind and part in found.place), None)
