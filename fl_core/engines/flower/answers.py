"""How often a client has answered: its own count, which no ServerApp keeps for it.

Every answer is noised, but noise is averaged away by whoever may ask for ever, under new names of runs or over adapters
that differ in one bit. So a client of a deployment agrees to so many answers for one configuration and deployment, in
its whole life. Takes a file of its own host; gives a refusal. An answer is on the disk before anything is computed for
it, so that one which was lost counts too. The file has names of runs and rounds, and nothing about records.
"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from fl_core.config import RunConfig
from fl_core.engines.flower.exchange import Refusal

__all__ = ["ANSWERS", "AnswerBook", "answers_allowed"]

ANSWERS = "answers.jsonl"
_LONGEST = 200  # of a name that the ServerApp chose


def answers_allowed(config: RunConfig) -> int:
    """How often a client answers for one configuration: `flower.answers`, else once for every attempt at a round."""
    own = config.flower.answers
    return config.federation.rounds * (config.aggregation.retries + 1) if own is None else own


class AnswerBook:
    """The answers of one client, kept for ever.

    Args:
        path: the file; made if there is none, readable by its owner alone.
        client: whose.
    """

    def __init__(self, path: Path, client: int) -> None:
        self._path, self._client = path, client

    def count(self, terms: str, allowed: int, run: str, round_: int, attempt: int) -> None:
        """Count one more answer, or refuse it.

        Args:
            terms: digest of configuration and deployment (`exchange.terms_of`); answers under others do not count. A
                line that cannot be read counts under all.
            allowed: most answers under these terms.
            run, round_, attempt: what is asked for.

        Raises:
            Refusal: if so many were given, or the file cannot be kept; nothing may be computed then.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self._path, flags, 0o600), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                written = file.read()
                given = sum(_counts(line, terms) for line in written.splitlines())
                if given >= allowed:
                    raise Refusal(
                        f"client {self._client} has answered {given} times under this configuration, and agreed to "
                        f"{allowed} (flower.answers); only its owner can agree to more"
                    )
                asked = {"run": run[:_LONGEST], "round": round_, "attempt": attempt, "terms": terms}
                line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **asked})
                torn = b"" if written.endswith(b"\n") or not written else b"\n"
                file.write(torn + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refusal(
                f"client {self._client} cannot note that it answers ({error.strerror or error}), so it does not"
            ) from None


def _counts(line: bytes, terms: str) -> bool:
    try:
        return bool(json.loads(line)["terms"] == terms)
    except (ValueError, KeyError, TypeError):
        return True
