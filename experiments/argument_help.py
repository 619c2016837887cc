"""Explanations of arguments in `--help`: typer 0.20 gives them, and click 8.5, which has its own now, takes them away.

One shim on typer's class, nothing where the two agree.
"""

from __future__ import annotations

import functools
from typing import Any

from typer.core import TyperArgument

__all__ = ["keep_argument_help"]


def keep_argument_help() -> None:
    """Have arguments keep their `help`; a second call changes nothing."""
    begin = TyperArgument.__init__
    if hasattr(begin, "keeps_help"):
        return

    @functools.wraps(begin)
    def keeping(self: TyperArgument, *names: Any, help: str | None = None, **settings: Any) -> None:
        begin(self, *names, help=help, **settings)
        self.help = help

    keeping.keeps_help = True  # type: ignore[attr-defined]
    TyperArgument.__init__ = keeping  # type: ignore[method-assign]
