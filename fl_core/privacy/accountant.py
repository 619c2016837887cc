"""From what ran to one epsilon, with the words that belong to the number.

Takes events, a delta, an accountant (`rdp` or `pld`, both computed with dp-accounting) and a neighbouring
relation; gives an `Epsilon`. The noise counted is that of the survivors; what other adversaries are left with is in
`views`. It must never answer with a number that nothing proves: what is not supported is refused in one sentence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, cast

import numpy as np

from fl_core.privacy.events import MechanismEvent, Neighbouring, PrivacyError, check_delta, check_neighbouring
from fl_core.privacy.pld import pld_epsilon, pld_supports
from fl_core.privacy.rdp import epsilon_from_rdp, honest_tau, rdp_of

__all__ = ["PROVEN", "Accountant", "Epsilon", "choose_accountant", "epsilon", "idealised", "rough_epsilon"]

Accountant = Literal["rdp", "pld"]

PROVEN = "Proven for the integer noise that is drawn, taking the keystream as random."  # a note; no seeded noise is
_HOPELESS = 1e5  # an epsilon above which a loss distribution would only cost time


@dataclass(frozen=True)
class Epsilon:
    """An (epsilon, delta) guarantee and what it rests on.

    Attributes:
        epsilon: the bound; inf when no finite one holds at this delta.
        delta: the failure probability it goes with.
        accountant: `rdp` or `pld`.
        neighbouring: `zero_out` (a contribution is replaced by zero and still adds its noise) or
            `replace_one`.
        proven: True when it holds for the integer noise that is drawn; False for the idealised real-valued
            Gaussian.
        notes: sentences that must be shown with the number.
    """

    epsilon: float
    delta: float
    accountant: Accountant
    neighbouring: Neighbouring
    proven: bool
    notes: tuple[str, ...]


def choose_accountant(events: Sequence[MechanismEvent]) -> Accountant:
    """`pld` where every event supports it, else `rdp`."""
    return "pld" if all(pld_supports(event) is None for event in events) else "rdp"


def epsilon(
    events: Sequence[MechanismEvent],
    delta: float,
    accountant: str | None = None,
    neighbouring: str = "zero_out",
) -> Epsilon:
    """The composed guarantee of all events against whoever sees the opened sums.

    Args:
        events: what ran; at least one.
        delta: above 0 and below 1.
        accountant: `rdp`, `pld`, or None for `choose_accountant`.
        neighbouring: `zero_out` or `replace_one`.

    Raises:
        PrivacyError: for a value out of range, or where nothing is proven for one of the events.
    """
    if not events:
        raise PrivacyError("There is nothing to account for: the history has no events.")
    chosen = choose_accountant(events) if accountant is None else accountant
    if chosen not in ("rdp", "pld"):
        raise PrivacyError(f'The accountant must be one of rdp, pld, not "{chosen}".')
    return _epsilon(tuple(events), check_delta(delta), cast(Accountant, chosen), check_neighbouring(neighbouring))


def idealised(events: Sequence[MechanismEvent], delta: float, neighbouring: str = "zero_out") -> Epsilon | None:
    """The PLD epsilon of real-valued Gaussian noise of the same size, to be shown beside a proven one and so named.

    None where there is no such number: fixed-size sampling has no PLD.
    """
    stand_ins = [replace(event, mechanism="gaussian") for event in events]
    if choose_accountant(stand_ins) != "pld":
        return None
    return epsilon(stand_ins, delta, "pld", neighbouring)


def rough_epsilon(events: Sequence[MechanismEvent], delta: float, neighbouring: Neighbouring) -> float:
    """An RDP bound that exists for every Gaussian event, with sampling ignored where it must be."""
    total = np.zeros(())
    for event in events:
        if neighbouring == "replace_one" and event.sampling == "poisson":
            event = replace(event, sample_rate=1.0)
        total = total + rdp_of(event, neighbouring)
    return epsilon_from_rdp(total, delta)


@lru_cache(maxsize=1024)
def _epsilon(
    events: tuple[MechanismEvent, ...], delta: float, accountant: Accountant, neighbouring: Neighbouring
) -> Epsilon:
    notes = list(_notes(events, accountant, neighbouring))
    if accountant == "rdp":
        value = epsilon_from_rdp(np.sum([rdp_of(event, neighbouring) for event in events], axis=0), delta)
    else:
        for event in events:
            reason = pld_supports(event)
            if reason is not None:
                raise PrivacyError(f"The pld accountant cannot answer: {reason}; use the rdp accountant.")
        magnitude = rough_epsilon(events, delta, neighbouring)
        if magnitude > _HOPELESS and any(event.sampled for event in events):
            value = magnitude
            notes.append("The noise is so small that this is the RDP value; no loss distribution was computed.")
        else:
            value = pld_epsilon(events, delta, neighbouring, magnitude)
    if not math.isfinite(value):
        value = math.inf
        notes.append("No finite epsilon holds at this delta.")
    proven = all(event.mechanism != "gaussian" for event in events)
    return Epsilon(max(value, 0.0), delta, accountant, neighbouring, proven, tuple(dict.fromkeys(notes)))


def _notes(events: tuple[MechanismEvent, ...], accountant: Accountant, neighbouring: Neighbouring) -> list[str]:
    notes = []
    mechanisms = {event.mechanism for event in events}
    if "gaussian" in mechanisms:
        notes.append(
            "Idealised mechanism: the number is for real-valued Gaussian noise, and no theorem covers its "
            "floating-point form."
        )
    if mechanisms - {"gaussian"}:
        notes.append(PROVEN)
    for event in events:
        if event.sampling == "fixed" and event.sampled:
            notes.append(_fixed_size_note(event, neighbouring))
        if event.mechanism == "discrete_gaussian":
            notes.extend(_shares_note(event))
        if event.mechanism == "skellam" and event.sampled and event.sampling == "poisson":
            notes.append("Sampling of Skellam noise is counted by the general bound of Zhu and Wang 2019.")
    if accountant == "pld" and not any(event.sampled for event in events):
        notes.append("Nothing is sampled, so this is the closed form of Balle and Wang 2018.")
    return notes


def _fixed_size_note(event: MechanismEvent, neighbouring: Neighbouring) -> str:
    if event.mechanism != "gaussian":
        return f"No amplification of {event.mechanism} noise by fixed-size sampling is proven, so none is counted."
    if neighbouring == "zero_out":
        return "Fixed-size sampling is accounted under replace_one, which is an upper bound for zero_out."
    return "Fixed-size sampling is accounted without replacement, not as Poisson sampling."


def _shares_note(event: MechanismEvent) -> list[str]:
    tau = honest_tau(event)
    if tau is not None:
        if tau <= 1e-12:
            return []
        return [
            f"The sum of noise shares differs from one discrete Gaussian by up to {tau:.2g} per coordinate, "
            "which is counted."
        ]
    if event.clients == 1:
        return []
    missing = " and ".join(f'"{key}"' for key in ("clients", "scale") if getattr(event, key) is None)
    return [
        f"Without {missing} it is assumed that each share of the noise is at least 4 grid steps wide, "
        "where a sum of shares is one discrete Gaussian to 1e-60."
    ]
