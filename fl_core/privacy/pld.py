"""Epsilon from privacy loss distributions, for real-valued Gaussian noise only.

Takes events as they stand (all survivors honest), a delta and a neighbouring relation; gives one float. It must never
be asked about integer noise: no privacy loss distribution is proven for that in more than one dimension.
"""

import math
from collections import Counter
from collections.abc import Sequence

from fl_core.privacy.events import MechanismEvent, Neighbouring, PrivacyError
from fl_core.privacy.rdp import SMALLEST_NOISE, realised_noise

__all__ = ["pld_epsilon", "pld_supports"]

# Width of the grid of losses, and of one for many tiny losses.
_DISCRETISATION = 1e-4
_FINE_DISCRETISATION = 1e-5


def pld_supports(event: MechanismEvent) -> str | None:
    """None where `pld_epsilon` takes the event, else the reason why it does not, as the end of a sentence."""
    if event.mechanism != "gaussian":
        return f"no privacy loss distribution is proven for {event.mechanism} noise in many dimensions"
    if event.sampling == "fixed":
        return "no privacy loss distribution is known for fixed-size sampling"
    return None


def pld_epsilon(
    events: Sequence[MechanismEvent],
    delta: float,
    neighbouring: Neighbouring = "zero_out",
    magnitude: float = 0.0,
) -> float:
    """The composed epsilon, an upper bound; inf when there is no finite one at this delta.

    Unsampled Gaussians compose to one Gaussian of noise multiplier (sum T / z^2)^(-1/2). When nothing is
    sampled the result is the closed form of Balle and Wang 2018, Theorem 8; otherwise the losses are put on a
    grid, rounded so that epsilon can only grow.

    Args:
        events: Gaussian events.
        delta: above 0 and below 1.
        neighbouring: under replace_one two contributions differ by twice the clip norm.
        magnitude: a rough epsilon (from RDP); above 100 the grid is widened in proportion, which keeps the
            answer to six digits at a bearable size.
    """
    import dp_accounting as dpa
    from dp_accounting import pld

    for event in events:
        reason = pld_supports(event)
        if reason is not None:
            raise PrivacyError(f"The pld accountant cannot answer: {reason}; use the rdp accountant.")
    if any(realised_noise(event) < SMALLEST_NOISE for event in events):
        return math.inf
    precision = math.fsum(e.steps / realised_noise(e) ** 2 for e in events if not e.sampled)
    sampled = Counter[tuple[float, float]]()
    for event in events:
        if event.sampled and event.sample_rate is not None:
            sampled[(event.sample_rate, realised_noise(event))] += event.steps
    shift = 2.0 if neighbouring == "replace_one" else 1.0
    if precision * SMALLEST_NOISE**2 > 1.0:
        return math.inf
    if not sampled:
        return float(dpa.get_epsilon_gaussian(1.0 / (shift * math.sqrt(precision)), delta))
    relation = (
        dpa.NeighboringRelation.REPLACE_ONE
        if neighbouring == "replace_one"
        else dpa.NeighboringRelation.REPLACE_SPECIAL
    )

    def compose(width: float) -> float:
        accountant = pld.PLDAccountant(relation, width)
        if precision > 0.0:
            accountant.compose(dpa.GaussianDpEvent(1.0 / math.sqrt(precision)))
        for (rate, z), steps in sampled.items():
            accountant.compose(dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(z)), steps)
        return float(accountant.get_epsilon(delta))

    # one step alone has losses of more than 1 / (2 z^2), which a run that samples rarely may not show in its
    # epsilon
    magnitude = max(magnitude, *((shift / z) ** 2 for _, z in sampled))
    interval = _DISCRETISATION
    if magnitude > 100.0:
        interval *= 10.0 ** math.ceil(math.log10(magnitude / 100.0))
    epsilon = compose(interval)
    # many tiny losses: the error of each step's rounding adds up to a visible part of a small epsilon
    if epsilon < 0.2 and sum(sampled.values()) > 1000 and interval == _DISCRETISATION:
        epsilon = min(epsilon, compose(_FINE_DISCRETISATION))
    return epsilon
