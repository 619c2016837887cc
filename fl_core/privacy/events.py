"""What ran, as data: one `MechanismEvent` per kind of opened sum, and the history file that lists them.

Takes the JSON of a history file; gives frozen events that the accountants, the views and the ledger read.
An event's numbers are never re-interpreted here: what an adversary is left with is the business of `views`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

from secagg.errors import SottoError

__all__ = [
    "Mechanism",
    "MechanismEvent",
    "Neighbouring",
    "PrivacyError",
    "Sampling",
    "check_delta",
    "check_neighbouring",
    "parse_history",
]

Mechanism = Literal["gaussian", "discrete_gaussian", "skellam"]
Sampling = Literal["poisson", "fixed"]
Neighbouring = Literal["zero_out", "replace_one"]

_LARGEST_COUNT = 10**12
_LARGEST_SCALE = 2.0**62  # a contribution has to fit a 64-bit ring


class PrivacyError(SottoError):
    """A privacy question without an answer as it was asked: a bad value, or nothing proven."""


@dataclass(frozen=True)
class MechanismEvent:
    """`steps` openings of one clipped sum with noise, all alike.

    Attributes:
        mechanism: `gaussian` (real-valued noise, idealised), `discrete_gaussian` or `skellam` (integer
            noise).
        noise_multiplier: standard deviation of the noise of the whole sum over the clip norm, when all
            `clients` contribute their share; without what aggregators add, and 0 only if they add all of it.
        steps: how many sums of this kind were opened.
        sample_rate: probability with which each protected contribution takes part (Poisson sampling).
        sampling: `poisson`, or `fixed` for a cohort of `cohort` out of `population` without replacement.
        cohort, population: the fixed-size sample, in contributions; only with `fixed`.
        clients: how many equal noise shares make up the noise multiplier; None when not known.
        survivors: how many of them reached the opened sums, colluders included; None means all.
        colluders: how many of the survivors tell the adversary their own noise.
        dimension: length of the opened vector, in coordinates.
        scale: grid steps per clip norm (the integer L2 bound of one contribution).
        aggregators: how many aggregators add noise of their own to the sum.
        aggregator_multiplier: standard deviation of the noise of each of them over the clip norm.
        own_multiplier: standard deviation over the clip norm of the noise that hides one client's own message from all
            aggregators together, where that is not an equal share: with XNoise they hold the seeds of every component
            but the first.

    Raises:
        PrivacyError: for a value out of range or a combination that cannot have happened, naming the key.
    """

    mechanism: Mechanism
    noise_multiplier: float
    steps: int
    sample_rate: float | None = None
    sampling: Sampling = "poisson"
    cohort: int | None = None
    population: int | None = None
    clients: int | None = None
    survivors: int | None = None
    colluders: int = 0
    dimension: int | None = None
    scale: float | None = None
    aggregators: int = 0
    aggregator_multiplier: float = 0.0
    own_multiplier: float | None = None

    def __post_init__(self) -> None:
        _one_of("mechanism", self.mechanism, get_args(Mechanism))
        _one_of("sampling", self.sampling, get_args(Sampling))
        _count("aggregators", self.aggregators, 0)
        if self.aggregators:
            _set(self, "aggregator_multiplier", _real("aggregator_multiplier", self.aggregator_multiplier, 0.0))
        elif self.aggregator_multiplier != 0.0:
            _refuse("aggregator_multiplier", 'needs "aggregators", the number of those that add this noise')
        if self.aggregators and self.noise_multiplier == 0 and not isinstance(self.noise_multiplier, bool):
            _set(self, "noise_multiplier", 0.0)
        else:
            _set(self, "noise_multiplier", _real("noise_multiplier", self.noise_multiplier, 0.0))
        if self.own_multiplier is not None:
            _set(self, "own_multiplier", _real("own_multiplier", self.own_multiplier, 0.0))
        _count("steps", self.steps, 1)
        if self.sampling == "poisson":
            if self.sample_rate is None:
                _refuse("sample_rate", "is missing; Poisson sampling needs a number above 0 and at most 1")
            _set(self, "sample_rate", _real("sample_rate", self.sample_rate, 0.0, 1.0))
            for key in ("cohort", "population"):
                if getattr(self, key) is not None:
                    _refuse(key, 'is only allowed with "sampling": "fixed"')
        else:
            if self.sample_rate is not None:
                _refuse(
                    "sample_rate",
                    'is not allowed with "sampling": "fixed", which takes "cohort" and "population"',
                )
            for key in ("cohort", "population"):
                if getattr(self, key) is None:
                    _refuse(key, 'is missing; "sampling": "fixed" needs "cohort" and "population"')
                _count(key, getattr(self, key), 1)
            if cast(int, self.cohort) > cast(int, self.population):
                _refuse("cohort", f"is {self.cohort}, which is above the population of {self.population}")
        for key in ("clients", "survivors", "dimension"):
            if getattr(self, key) is not None:
                _count(key, getattr(self, key), 1)
        _count("colluders", self.colluders, 0)
        if self.scale is not None:
            _set(self, "scale", _real("scale", self.scale, 0.0, _LARGEST_SCALE))
            if self.scale < 1.0:
                _refuse("scale", f"must be at least 1 grid step per clip norm, not {self.scale:g}")
        if self.survivors is not None:
            if self.clients is None:
                _refuse("survivors", 'needs "clients", the number of noise shares it is a part of')
            if self.survivors > self.clients:
                _refuse("survivors", f"is {self.survivors}, which is above the {self.clients} clients")

    @property
    def sampled(self) -> bool:
        """Whether a contribution can be left out of an opening at all."""
        if self.sampling == "poisson":
            return self.sample_rate != 1.0
        return self.cohort != self.population

    @classmethod
    def from_json(cls, entry: object) -> "MechanismEvent":
        """One history entry; raises PrivacyError naming the key for anything that is not one."""
        if not isinstance(entry, Mapping):
            raise PrivacyError(f"It must be an object with the keys of an event, not {_kind(entry)}.")
        known = {field.name for field in fields(cls)}
        for key in entry:
            if key not in known:
                _refuse(str(key), f"is not a key of an event; the keys are {', '.join(sorted(known))}")
        for key in ("mechanism", "noise_multiplier", "steps"):
            if key not in entry:
                _refuse(key, "is missing")
        return cls(**entry)

    def to_json(self) -> dict[str, Any]:
        """The entry that `from_json` reads back; keys without a value are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: value for key, value in values.items() if value is not None}


def parse_history(path: str | Path) -> tuple[MechanismEvent, ...]:
    """The events of a history file (a JSON list of entries), in file order.

    Raises:
        PrivacyError: one sentence that names the file, the entry (counted from 0) and the key.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_repeats)
    except PrivacyError as error:
        raise PrivacyError(f"History {path}: {error}") from None
    except OSError as error:
        raise PrivacyError(f"History {path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise PrivacyError(f"History {path}: is not JSON ({error}).") from None
    if not isinstance(entries, list) or not entries:
        raise PrivacyError(f"History {path}: must be a JSON list of at least one event, not {_kind(entries)}.")
    events = []
    for index, entry in enumerate(entries):
        try:
            events.append(MechanismEvent.from_json(entry))
        except PrivacyError as error:
            raise PrivacyError(f"History {path}: entry {index}: {error}") from None
    return tuple(events)


def check_delta(delta: object) -> float:
    """Delta as a float; raises PrivacyError unless it lies strictly between 0 and 1."""
    value = _real("delta", delta, 0.0, 1.0)
    if value == 1.0:
        _refuse("delta", "must be a number above 0 and below 1, not 1")
    return value


def check_neighbouring(neighbouring: str) -> Neighbouring:
    """The neighbouring relation; raises PrivacyError for anything but the two that are known."""
    _one_of("neighbouring", neighbouring, get_args(Neighbouring))
    return cast(Neighbouring, neighbouring)


def _refuse(key: str, why: str) -> NoReturn:
    raise PrivacyError(f'"{key}" {why}.')


def _set(event: MechanismEvent, key: str, value: float) -> None:
    object.__setattr__(event, key, value)  # a frozen dataclass normalises 1 to 1.0 only here


def _one_of(key: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        _refuse(key, f"must be one of {', '.join(allowed)}, not {_kind(value)}")


def _real(key: str, value: object, above: float, at_most: float = math.inf) -> float:
    allowed = f"must be a number above {above:g}" + (f" and at most {at_most:g}" if at_most < math.inf else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(key, f"{allowed}, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        _refuse(key, f"{allowed}, not an integer too large for a float")
    if not (above < number <= at_most and math.isfinite(number)):
        _refuse(key, f"{allowed}, not {number:g}")
    return number


def _count(key: str, value: object, least: int) -> None:
    allowed = f"must be an integer from {least} to 10^12"
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(key, f"{allowed}, not {_kind(value)}")
    if not least <= value <= _LARGEST_COUNT:
        _refuse(key, f"{allowed}, not {value if abs(value) < 10**30 else 'a far larger number'}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge integer"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 40 else value[:40] + "...")
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return type(value).__name__


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _refuse(key, "appears twice in one object")
        found[key] = value
    return found
