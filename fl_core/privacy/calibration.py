"""The smallest noise multiplier that meets a target epsilon.

Takes a target and what will run; gives z such that `accountant.epsilon` at z, asked the same way, is at most
the target. It must never round down: the answer may be up to one part in 10^4 too large, never too small.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from fl_core.privacy.accountant import choose_accountant, epsilon, rough_epsilon
from fl_core.privacy.events import MechanismEvent, PrivacyError, check_delta, check_neighbouring

__all__ = ["calibrate", "calibrate_event"]

SMALLEST = 2e-2
LARGEST = 1e6
_TOLERANCE = 1e-4
_DIGITS = 6


def calibrate(
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    mechanism: str = "gaussian",
    accountant: str | None = None,
    neighbouring: str = "zero_out",
    clients: int | None = None,
    dimension: int | None = None,
    scale: float | None = None,
) -> float:
    """Noise multiplier for `steps` Poisson-sampled openings; see `calibrate_event`."""
    event = MechanismEvent(
        mechanism,  # type: ignore[arg-type]
        1.0,
        steps,
        sample_rate,
        clients=clients,
        dimension=dimension,
        scale=scale,
    )
    return calibrate_event(event, epsilon, delta, accountant, neighbouring)


def calibrate_event(
    event: MechanismEvent,
    target: float,
    delta: float,
    accountant: str | None = None,
    neighbouring: str = "zero_out",
) -> float:
    """The noise multiplier at which `event` meets the target, all else in it as it is.

    Args:
        event: what will run; its own noise multiplier is not read.
        target: the epsilon to meet, above 0.
        delta: above 0 and below 1.
        accountant: `rdp`, `pld`, or None for `pld` where the event supports it.
        neighbouring: `zero_out` or `replace_one`.

    Raises:
        PrivacyError: for a value out of range, or when no noise multiplier between 0.02 and 10^6 meets the
            target exactly enough to be worth using.
    """
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0.0 < target < math.inf:
        raise PrivacyError(f'"epsilon" must be a number above 0, not {target}.')
    delta = check_delta(delta)
    relation = check_neighbouring(neighbouring)
    chosen = choose_accountant([event]) if accountant is None else accountant

    def spent(z: float) -> float:
        return epsilon([replace(event, noise_multiplier=z)], delta, chosen, relation).epsilon

    def spent_at_most(z: float) -> float:
        return rough_epsilon([replace(event, noise_multiplier=z)], delta, relation)

    if chosen == "pld":
        if event.mechanism == "gaussian" and event.sampling == "poisson":
            high = _smallest(spent_at_most, target, SMALLEST, LARGEST)
            low, factor = high, 0.8  # the RDP answer is near, and never below
            while low > SMALLEST and spent(low) <= target:
                high, low, factor = low, max(low * factor, SMALLEST), factor**2
            return _smallest(spent, target, low, max(high, low))
        spent(1.0)  # raises the accountant's own refusal
    return _smallest(spent, target, SMALLEST, LARGEST)


def _smallest(spent: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The smallest z in [low, high] with spent(z) <= target, to the tolerance, rounded up to six digits."""
    at_high = spent(high)
    if at_high > target:
        raise PrivacyError(
            f"An epsilon of {target:g} cannot be met: a noise multiplier of {high:g} gives {at_high:.4g}."
        )
    at_low = spent(low)
    if at_low <= target:
        if low > SMALLEST:
            return low
        raise PrivacyError(
            f"An epsilon of {target:g} needs no noise to speak of: a noise multiplier of {low:g} already "
            f"gives {at_low:.4g}, and a smaller target is needed."
        )
    nudge, moved_high, probes = _TOLERANCE / 3.0, False, 0
    while high > low * (1.0 + _TOLERANCE):
        middle = math.sqrt(low * high)
        if probes < 12 and at_high > 0.0 and at_low < math.inf:
            # log epsilon is close to a straight line in log z; aim a little past the root, at the end that lags
            share = math.log(at_low / target) / math.log(at_low / at_high)
            guess = low * (high / low) ** share * (1.0 - nudge if moved_high else 1.0 + nudge)
            margin = 1.0 + _TOLERANCE / 10.0
            middle = min(max(guess, low * margin), high / margin)
        value = spent(middle)
        now_high = value <= target
        if now_high:
            high, at_high = middle, value
        else:
            low, at_low = middle, value
        nudge = nudge * 4.0 if now_high == moved_high and probes else _TOLERANCE / 3.0
        moved_high, probes = now_high, probes + 1
    answer = _round_up(high)
    while spent(answer) > target:
        answer = _round_up(answer * (1.0 + _TOLERANCE))
    return answer


def _round_up(z: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(z)) + 1 - _DIGITS)
    rounded = round(math.ceil(z / unit) * unit, max(0, _DIGITS - 1 - math.floor(math.log10(z))))
    return rounded if rounded >= z else rounded + unit
