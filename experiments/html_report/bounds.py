"""What an epsilon and a delta bound: an adversary's odds, guesses and certain finds.

The adversary knows everything but whether one protected contribution took part or was replaced by zero, and sees what
the view says. The bounds on tests are exact for (epsilon, delta) (Wasserman and Zhou 2010; Kairouz, Oh and Viswanath
2015, theorem 2.1): no test does better, and many do worse. They say nothing of how well a real attack does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["FALSE_ALARMS", "Bounds", "bounds", "factor"]

# The false alarms at which finds are told: Carlini et al. 2022 argue for low ones.
FALSE_ALARMS = 0.01

_USELESS = 0.9999  # a chance that rounds to certainty


@dataclass(frozen=True)
class Bounds:
    """What an epsilon and a delta allow at most.

    Attributes:
        odds: natural logarithm of the factor on the odds of "took part", but for delta.
        guess: chance to guess right, of a record that took part with chance one half.
        find: chance to find a record that took part, by a test that suspects FALSE_ALARMS of those that did not.
    """

    odds: float
    guess: float
    find: float

    @property
    def useful(self) -> bool:
        """Whether guessing right is bounded by less than practically always."""
        return self.guess < _USELESS


def bounds(epsilon: float, delta: float) -> Bounds:
    """The bounds at `epsilon` of at least 0 and `delta` in [0, 1)."""
    gone = math.exp(-epsilon)
    # (e^eps + delta) / (e^eps + 1), without the overflow of a large epsilon.
    guess = (1.0 + delta * gone) / (1.0 + gone)
    linear = FALSE_ALARMS * math.exp(min(epsilon, 100.0)) + delta
    find = min(linear, 1.0 - gone * (1.0 - delta - FALSE_ALARMS), 1.0)
    return Bounds(epsilon, guess, find)


def factor(logarithm: float) -> str:
    """e to the `logarithm`, in words that fit a sentence: "7.39", "2,981", "10^62"."""
    if logarithm < math.log(100):
        return f"{math.exp(logarithm):.3g}"
    if logarithm < math.log(1e6):
        return f"{math.exp(logarithm):,.0f}"
    return f"10^{logarithm / math.log(10):,.0f}"
