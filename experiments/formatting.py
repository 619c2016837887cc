"""How numbers are written: epsilons, shares and bytes for people, and numbers that JSON has for scripts."""

from __future__ import annotations

import math

__all__ = ["epsilon", "epsilon_to_cite", "finite", "measured", "percent", "score", "sized"]

_ENDLESS = 1e9  # nobody counts the digits of more


def epsilon(value: float | None) -> str:
    """An epsilon in a table or a headline; None: there is no finite one."""
    if value is None:
        return "∞"
    return f"{value:.3f}" if value < 1000 else f"{value:,.0f}" if value < 1e6 else f"{value:.3g}"


def epsilon_to_cite(value: float | None) -> str:
    """An epsilon with the digits that it is cited with; None: there is no finite one."""
    return "none" if value is None else f"{value:.4f}"


def measured(value: float) -> str:
    """A measured quantity with three digits, or as a whole number where it has more."""
    return f"{value:,.0f}" if 999.5 <= value < _ENDLESS else f"{value:.3g}"


def score(value: float) -> str:
    """A score: shares and losses with four digits behind the point, perplexities with one."""
    return f"{value:.4f}" if value < 10 else f"{value:,.1f}" if value < _ENDLESS else f"{value:.3g}"


def percent(share: float) -> str:
    """A share of one, to a hundredth of a per cent."""
    return f"{share:.2%}"


def sized(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g}\u00a0{unit}"
    return f"{count:.0f}\u00a0bytes"


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if value is not None and math.isfinite(value) else None
