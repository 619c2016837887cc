"""An aggregator's node: takes one party's sealed parts from the ServerApp and puts them into that party's spool.

It holds no key and can read no part. One file a message; files of earlier rounds are removed, for their round is over
or was given up. It must never touch a file that it did not write.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_core.engines.flower.exchange import HELLO, RELAY, Facts, Refusal, Value, take
from secagg.deployment.parties_file import load_deployment
from secagg.party.spool import SpooledParts, SpoolError

__all__ = ["PREFIX", "AggregatorNode", "AggregatorSettings"]

PREFIX = "flower-"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AggregatorSettings:
    """What the node knows by itself.

    Attributes:
        parties: its copy of the deployment's public file.
        rank: of the party beside it.
        spool: the folder that the party reads (`sotto party --spool`).
    """

    parties: Path
    rank: int
    spool: Path


class AggregatorNode:
    """Answers the ServerApp's questions.

    Raises:
        SottoError: for a deployment that cannot be used or a rank that it does not have.
        SpoolError: if the spool is no folder.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        deployment = load_deployment(settings.parties)
        if not 0 <= settings.rank < len(deployment.parties):
            raise SpoolError(f"rank is {settings.rank}; the deployment has parties 0 to {len(deployment.parties) - 1}")
        if not settings.spool.is_dir():
            raise SpoolError(f"the spool {settings.spool} is no folder")
        self._rank, self._spool, self._digest = settings.rank, settings.spool, deployment.digest.hex()

    def answer(self, kind: str, facts: Facts) -> dict[str, Value]:
        """The answer to one question; never raises."""
        try:
            if kind == HELLO:
                return {"role": "aggregator", "rank": self._rank, "deployment": self._digest}
            if kind == RELAY:
                return self._put(facts)
            raise Refusal(f"an aggregator node does not answer {kind!r}")
        except (Refusal, SpoolError) as refusal:
            logger.warning("refused: %s", refusal)
            return {"refused": str(refusal)}
        except OSError as error:
            logger.warning("the parts could not be written: %s", error)
            return {"refused": f"the parts could not be written: {error.strerror}"}

    def _put(self, facts: Facts) -> dict[str, Value]:
        parts: bytes = take(facts, "parts", bytes)
        lengths: list[Any] = take(facts, "lengths", list)
        place = SpooledParts(take(facts, "name", str), 0, tuple(lengths))
        ending = f".{self._rank}"
        if not (place.name.startswith(PREFIX) and place.name.endswith(ending)) or place.size != len(parts):
            raise Refusal(f"parts that are not {PREFIX}...{ending} with as many bytes as their lengths say")
        for old in self._spool.glob(f"{PREFIX}*{ending}"):
            old.unlink(missing_ok=True)
        with (self._spool / place.name).open("xb") as file:
            file.write(parts)
        return {"taken": len(lengths)}
