"""The three epsilons in plain words: who the adversary is, and what the number does and does not promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments.arms import Arm
from experiments.formatting import epsilon
from experiments.html_report.bounds import FALSE_ALARMS, Bounds, bounds, factor
from experiments.html_report.markup import Content, Html, element, joined
from experiments.html_report.sections import unit_of
from experiments.html_report.tables import table
from experiments.html_report.wording import ADVERSARIES, adjacency
from experiments.summary import extrapolates
from fl_core.privacy.views import VIEWS

__all__ = ["in_plain_words", "meaning_table"]

_WEAK = 0.95  # a bound on guesses above this is called weak


def in_plain_words(summary: dict[str, Any]) -> Html:
    """A card for each view of a run, and what none of them says."""
    privacy = summary["privacy"]
    cards = [_card(view, privacy, unit_of(summary)) for view in VIEWS]
    limits = _limits([summary]) if privacy["private"] else None
    return joined(_common([summary]), element("div", *cards, class_="cards"), limits)


def meaning_table(arms: Sequence[Arm]) -> Html:
    """What the epsilons that the arms asked for bound; the views in words; and what none of them says."""
    summaries = [arm.summary for arm in arms]
    private = [arm for arm in arms if arm.summary["privacy"]["private"]]
    own = [arm for arm in private if extrapolates(arm.summary) is None]
    asked = {(arm.epsilon_asked, arm.summary["privacy"]["delta"]) for arm in own if arm.epsilon_asked is not None}
    rows: list[Sequence[Content]] = []
    for value, delta in sorted(asked):
        found = bounds(value, delta)
        rows.append([f"{value:g}", f"{delta:g}", factor(found.odds), _chance(found.guess), _chance(found.find)])
    columns = ["epsilon", "delta", "odds, times", "right guesses", f"finds at {FALSE_ALARMS:.0%} false alarms"]
    views = [element("li", element("strong", f"{view}: "), _who(summaries, view), ".") for view in VIEWS]
    return joined(
        _common(summaries),
        element("h3", "The three adversaries"),
        element("ul", *views, class_="plain"),
        element("h3", "What the epsilons that were asked for promise") if rows else None,
        table("At most, for whoever the epsilon holds against", columns, rows) if rows else None,
        _limits([arm.summary for arm in private]) if private else None,
    )


def _common(summaries: Sequence[dict[str, Any]]) -> Html:
    kinds = dict.fromkeys((one["privacy"]["neighbouring"], one["privacy"]["unit"]) for one in summaries)
    deltas = sorted({one["privacy"]["delta"] for one in summaries})
    return joined(
        *(element("p", adjacency(*kind)) for kind in kinds),
        element(
            "p",
            "Epsilon bounds how well anybody can tell these worlds apart by what they see, whatever else they know; "
            f"delta ({', '.join(f'{delta:g}' for delta in deltas)}) is the slack that the bound is allowed. There are "
            "three epsilons because there are three kinds of people who see different things.",
        ),
    )


def _card(view: str, privacy: dict[str, Any], unit: str) -> Html:
    found = privacy["views"][view]
    value = found["epsilon"]
    told = "no epsilon" if value is None else f"epsilon {epsilon(value)}"
    promise = "No bound holds here." if value is None else _promise(bounds(value, privacy["delta"]), value, unit)
    if value is not None and not privacy["private"]:
        told = "no guarantee"
        promise = f"No bound holds here: the ledger’s {epsilon(value)} is for noise that nobody could compute again."
    return element(
        "section",
        element("h3", ADVERSARIES[view], id=f"view-{view}"),
        element("p", told, class_="big"),
        element("p", f"The {view} view: {found['adversary']}."),
        element("p", promise),
        element("p", found["note"]) if found["note"] else None,
        class_="card",
        aria_labelledby=f"view-{view}",
    )


def _promise(found: Bounds, value: float, unit: str) -> str:
    if value == 0:
        return "Nothing was shown, so nothing can be told."
    if not found.useful:
        return (
            "An epsilon this large promises next to nothing: it allows the odds to change by a factor of "
            f"{factor(found.odds)} and guesses to be right always. That does not show that an attack succeeds, "
            "only that none is ruled out."
        )
    weak = " That is a weak promise." if found.guess > _WEAK else ""
    return (
        f"Whoever guesses, at even odds, whether {unit} took part is right at most {_chance(found.guess)} of the time. "
        f"A test that wrongly suspects {FALSE_ALARMS:.0%} of those who did not take part finds at most "
        f"{_chance(found.find)} of those who did. But for delta, odds change by a factor of at most "
        f"{factor(found.odds)}.{weak}"
    )


def _limits(summaries: Sequence[dict[str, Any]]) -> Html:
    units = {summary["privacy"]["unit"] for summary in summaries}
    points = [
        "They are upper bounds for the strongest imaginable attack. Real attacks mostly do worse; how much worse, "
        "a bound cannot say.",
        "They are about one protected unit. What the whole data set teaches, such as that a word is common, is "
        "learnt on purpose.",
    ]
    if "example" in units:
        points.append(
            "The unit is one record: whoever holds k records is protected k times less, at epsilon times k and a "
            "larger delta."
        )
    points.append(
        "They are about these runs alone. Every further run on the same records spends again, also one that only "
        "searched for settings; sotto ledger adds up the runs that it is given."
    )
    if any(summary["privacy"]["backend"] == "smpc" for summary in summaries):
        points.append(
            "That nobody but all parties together sees one client’s message rests on at least one honest party; if all "
            "of them collude, only the local epsilon holds."
        )
    return joined(
        element("h3", "What these numbers do not say"),
        element("ul", *(element("li", point) for point in points), class_="plain"),
    )


def _who(summaries: Sequence[dict[str, Any]], view: str) -> str:
    """The view's adversary, which is not the same under every trust model and backend."""
    words = dict.fromkeys(str(summary["privacy"]["views"][view]["adversary"]) for summary in summaries)
    return "; in other settings ".join(words)


def _chance(chance: float) -> str:
    """An upper bound as a percentage, rounded up, with more digits the nearer it is to an end."""
    digits = 0 if 0.1 <= chance <= 0.95 else 1 if chance <= 0.99 else 2
    return f"{min(1.0, math.ceil(chance * 10 ** (digits + 2) - 1e-9) / 10 ** (digits + 2)):.{digits}%}"
