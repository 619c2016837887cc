"""What the commands of `bench` have in common: their parsers, and what they say while they work."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

__all__ = ["add_scratch", "add_seed", "parser_of", "say", "seconds_left"]


def parser_of(name: str, doc: str | None, writes: str | None = None) -> argparse.ArgumentParser:
    """The parser of `python -m bench.NAME`.

    Args:
        name: of the command.
        doc: of its module, whose first line describes it.
        writes: the files that it makes in the folder `--out`, which must be named then.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=(doc or "").partition("\n")[0])
    if writes is not None:
        parser.add_argument("--out", type=Path, required=True, help=f"folder for {writes}")
    return parser


def add_seed(parser: argparse.ArgumentParser, of: str = "all that is drawn") -> None:
    """`--seed`, another one every time unless it is named."""
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)), help=f"of {of}")


def add_scratch(parser: argparse.ArgumentParser, what: str = "runs") -> None:
    """`--scratch`, where files lie that are deleted at the end."""
    parser.add_argument("--scratch", type=Path, help=f"folder for {what} (default: the system's temporary one)")


def say(text: str) -> None:
    """Tell whoever waits how it goes, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def seconds_left(started: float, done: int, of: int) -> float:
    """How long the rest takes if it goes on as since `started`, by the monotonic clock."""
    return (time.monotonic() - started) / max(done, 1) * (of - done)
