"""How numbers are written in a figure: round ones at its axes, and measured ones in its table."""

from __future__ import annotations

from collections.abc import Callable

from experiments.formatting import epsilon, percent

__all__ = ["as_epsilon", "as_share", "as_whole"]


def as_whole(value: float) -> str:
    """A round or a count, as ticks and tables show it."""
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def as_share(span: tuple[float, float]) -> Callable[[float], str]:
    """How shares are written on an axis of `span`: with as many digits as tell its ticks apart."""
    digits = 0 if span[1] - span[0] > 0.04 else 1 if span[1] - span[0] > 0.004 else 2

    def show(value: float) -> str:
        # A tick is a round number, a measured value has more digits.
        return f"{value:.{digits}%}" if abs(round(value, digits + 2) - value) < 1e-9 else percent(value)

    return show


def as_epsilon(value: float) -> str:
    """An epsilon at a tick or in a table."""
    if value != float(f"{value:.1g}"):
        return epsilon(value)  # measured, and no tick
    if value < 1e5:
        return f"{value:g}" if value < 1000 else f"{value:,.0f}"
    digit, _, power = f"{value:.0e}".partition("e+")
    return f"10^{int(power)}" if digit == "1" else f"{digit}·10^{int(power)}"
