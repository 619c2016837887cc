"""Three epsilons for three adversaries: who sees the release, the aggregators, and one client's own message.

Takes what ran and who is trusted; gives one `View` each with its unit, neighbouring relation and adversary in
words. A view without a finite or derivable epsilon carries None and says why; it must never be left out or
shown as a number.

With noise of z clip norms over the whole sum in n equal shares, n_s survivors and t colluders among them:
release z sqrt(n_s / n); aggregators z sqrt((n_s - t) / n), since the colluders' own shares are subtracted;
local z / sqrt(n), one share (with XNoise: its first component, since all aggregators together could
regenerate the others). Noise of the aggregators' own is in the release as often as there are aggregators, is
left once against K - 1 colluding ones, and is not in a client's message at all.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from fl_core.privacy.accountant import PROVEN, Accountant, Epsilon, choose_accountant, epsilon
from fl_core.privacy.events import MechanismEvent, Neighbouring, PrivacyError, check_neighbouring

__all__ = [
    "VIEWS",
    "Backend",
    "Trust",
    "Unit",
    "View",
    "Views",
    "against_aggregators",
    "against_recipients",
    "left_to_each",
    "local",
    "views",
]

VIEWS = ("release", "aggregators", "local")
Unit = Literal["example", "client"]
Trust = Literal["none", "central", "local", "distributed"]
Backend = Literal["plaintext", "smpc"]

_RELEASE = "whoever sees the released models and every opened sum, but no client's own message and no noise share"
_AGGREGATORS = "all opened sums, who took part, and {known}; at least one aggregator is honest"
_LOCAL = "whoever reads one client's own messages, such as all aggregators together"
_SERVER = "the server, which under plaintext aggregation reads every client's own messages"
_TRUSTED = "the server, which adds the noise and sees every client's message without it"
_BARE = "Clients add no noise of their own: the aggregators do, and their noise is not in a client's message."
_PICKED = "A picked cohort is known to whoever picked it, so this view counts no amplification by sampling."


@dataclass(frozen=True)
class View:
    """One adversary's epsilon; None when there is no finite or no derivable one, as `note` then says."""

    epsilon: float | None
    unit: Unit
    neighbouring: Neighbouring
    adversary: str
    note: str


@dataclass(frozen=True)
class Views:
    """The three views, and what they share."""

    release: View
    aggregators: View
    local: View
    delta: float
    accountant: Accountant
    proven: bool
    notes: tuple[str, ...]

    def to_json(self, private: bool = True) -> dict[str, Any]:
        """One JSON object; the `epsilon` at its top is that of the release.

        Args:
            private: whether nobody knows the noise; nothing is called proven of noise that somebody knows.
        """
        three = {"release": self.release, "aggregators": self.aggregators, "local": self.local}
        return {
            "epsilon": self.release.epsilon,
            "delta": self.delta,
            "accountant": self.accountant,
            "unit": self.release.unit,
            "neighbouring": self.release.neighbouring,
            "proven": private and self.proven,
            "notes": [note for note in self.notes if private or note != PROVEN],
            "views": {name: asdict(view) for name, view in three.items()},
        }


def against_recipients(event: MechanismEvent) -> MechanismEvent:
    """The event with the noise of all survivors and all aggregators, and nothing else to know."""
    if event.clients is None:
        return event
    return _keep(event, event.survivors or event.clients)


def against_aggregators(event: MechanismEvent) -> MechanismEvent | None:
    """The event with the shares of honest survivors and one aggregator's noise; None when there is neither.

    A fixed-size cohort becomes full participation: the aggregators know who is in it.

    Raises:
        PrivacyError: without `clients`.
    """
    event = replace(_cohort_known(event), aggregators=min(event.aggregators, 1))
    honest = (event.survivors or event.clients or 0) - event.colluders
    if event.noise_multiplier > 0.0 and (honest > 0 or event.clients is None):
        return _keep(event, honest)
    return replace(event, noise_multiplier=0.0, survivors=None, colluders=0) if event.aggregators else None


def local(event: MechanismEvent) -> MechanismEvent | None:
    """The event with one client's share alone, None if clients add none; raises PrivacyError without `clients`."""
    if event.noise_multiplier == 0.0:
        return None
    alone = _keep(replace(_cohort_known(event), aggregators=0, aggregator_multiplier=0.0), 1)
    if event.own_multiplier is None:
        return alone
    return replace(alone, noise_multiplier=event.own_multiplier, own_multiplier=None)


def left_to_each(event: MechanismEvent, trust: str, backend: str) -> dict[str, MechanismEvent | None]:
    """What is left of one event against each view's adversary; None where nothing protects from it.

    Raises:
        PrivacyError: without `clients`, under trust `local` and `distributed`.
    """
    if trust == "none":
        return dict.fromkeys(VIEWS)
    if trust == "central":
        # the server draws all of the noise itself, whoever drops out
        alone = replace(event, clients=1, survivors=None, colluders=0)
        return {"release": against_recipients(alone), "aggregators": None, "local": None}
    own = local(event)
    honest = own if backend == "plaintext" else against_aggregators(event)
    return {"release": against_recipients(event), "aggregators": honest, "local": own}


def views(
    events: Sequence[MechanismEvent],
    delta: float,
    accountant: str | None = None,
    neighbouring: str = "zero_out",
    unit: str = "example",
    trust: str = "distributed",
    backend: str = "smpc",
) -> Views:
    """The release, aggregators and local epsilons of a history.

    Args:
        events: what ran; the noise multiplier is that of the whole sum under every trust.
        delta: above 0 and below 1.
        accountant: `rdp`, `pld`, or None for `pld` where every event supports it.
        neighbouring: `zero_out` or `replace_one`.
        unit: what one contribution is, `example` or `client`.
        trust: `distributed` (each client adds a share), `local` (each adds enough by itself), `central` (the
            server adds all of it and sees raw messages) or `none` (no noise).
        backend: `smpc`, or `plaintext`, under which the server sees every message.

    Raises:
        PrivacyError: for a value that is not allowed, or where nothing is proven for one of the events.
    """
    relation = check_neighbouring(neighbouring)
    for name, value, allowed in (
        ("unit", unit, Unit),
        ("trust", trust, Trust),
        ("backend", backend, Backend),
    ):
        if value not in get_args(allowed):
            raise PrivacyError(f'"{name}" must be one of {", ".join(get_args(allowed))}, not "{value}".')
    if trust == "central" and any(event.aggregators for event in events):
        raise PrivacyError('"aggregators" add noise of their own, which is not trust central.')

    def view(found: Epsilon | None, adversary: str, note: str) -> View:
        value = None if found is None or not math.isfinite(found.epsilon) else found.epsilon
        if found is not None and value is None:
            note = f"No finite epsilon holds at this delta. {note}".strip()
        return View(value, cast(Unit, unit), relation, adversary, note)

    among = _among_aggregators(events)
    if trust == "none":
        why = "No noise is added, so there is no epsilon."
        chosen = cast(Accountant, accountant or choose_accountant(events))
        three = [view(None, adversary, why) for adversary in (_RELEASE, among, _LOCAL)]
        return Views(three[0], three[1], three[2], delta, chosen, False, (why,))
    derivable = trust == "central" or all(event.clients or event.noise_multiplier == 0.0 for event in events)
    left: list[dict[str, MechanismEvent | None]] = [
        left_to_each(event, trust, backend) if derivable else {"release": against_recipients(event)} for event in events
    ]
    released = epsilon([cast(MechanismEvent, each["release"]) for each in left], delta, accountant, relation)

    def spent(name: str) -> Epsilon | None:
        """None where one of the events leaves nothing that protects from that adversary."""
        kept = [event for each in left if (event := each[name]) is not None]
        return epsilon(kept, delta, released.accountant, relation) if len(kept) == len(left) else None

    def answer(aggregators: View, own: View) -> Views:
        release = view(released, _RELEASE, "")
        return Views(release, aggregators, own, delta, released.accountant, released.proven, released.notes)

    if trust == "central":
        why = "The server adds the noise itself and sees what clients send without any: it is trusted with it."
        return answer(view(None, _TRUSTED, why), view(None, _LOCAL, why))
    if not derivable:
        why = 'Not derivable: "clients", the number of noise shares, is missing from the history.'
        return answer(view(None, among, why), view(None, _LOCAL, why))
    picked = _PICKED if any(event.sampling == "fixed" and event.sampled for event in events) else ""
    alone = spent("local")
    about = picked if alone else _BARE
    own = view(alone, _LOCAL, about)
    if backend == "plaintext":
        why = f"Under plaintext aggregation only the local epsilon holds against the server. {about}".strip()
        return answer(view(alone, _SERVER, why), own)
    honest = spent("aggregators")
    if honest is None:
        why = "No finite epsilon: the colluders know every share of the noise in at least one opened sum."
        return answer(view(None, among, why), own)
    return answer(view(honest, among, picked), own)


def _among_aggregators(events: Sequence[MechanismEvent]) -> str:
    """The adversary of the view `aggregators` in words."""
    colluders = max((event.colluders for event in events), default=0)
    known = [f"the own noise of {colluders} colluding clients"] if colluders else []
    if any(event.aggregators for event in events):
        known.append("the noise of all aggregators but one")
    return _AGGREGATORS.format(known=" and ".join(known) or "no client's own noise")


def _keep(event: MechanismEvent, shares: int) -> MechanismEvent:
    """`shares` of the event's equal noise shares, all of them honest and present."""
    if event.clients is None:
        raise PrivacyError('"clients", the number of noise shares, is missing.')
    noise = event.noise_multiplier * math.sqrt(shares / event.clients)
    return replace(event, noise_multiplier=noise, clients=shares, survivors=None, colluders=0)


def _cohort_known(event: MechanismEvent) -> MechanismEvent:
    if event.sampling == "poisson":
        return event
    return replace(event, sampling="poisson", sample_rate=1.0, cohort=None, population=None)
