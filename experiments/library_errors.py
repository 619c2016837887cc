"""Errors of libraries that share no base class, for one sentence: what is said of them is their first line."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is there, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
