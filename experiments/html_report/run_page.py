"""The page of one run, from its headline to its configuration."""

from __future__ import annotations

import shlex
from typing import Any

from experiments.formatting import epsilon, percent, score, sized
from experiments.html_report.bars import bars
from experiments.html_report.bounds import bounds
from experiments.html_report.chart_svg import draw
from experiments.html_report.configuration import as_yaml, changed
from experiments.html_report.epsilon_section import in_plain_words
from experiments.html_report.markup import Content, Html, element, joined
from experiments.html_report.run_charts import accuracy_chart, epsilon_chart, seconds_chart, survivors_chart
from experiments.html_report.sections import Section, Subject, box, machine, tile, unit_of, verdict
from experiments.html_report.tables import facts, folded, key, setting, table
from experiments.html_report.wording import about_the_task, bounded, proven, sentence, what_was_done
from experiments.summary import extrapolates, in_words, places_and_warnings
from fl_core.privacy.views import VIEWS

__all__ = ["run_sections"]

_FLOAT32 = 4  # bytes


def run_sections(subject: Subject) -> tuple[Html, list[Section]]:
    """What stands above everything, and the sections."""
    _, rows, summary = subject.run
    absent = subject.check.verdict == "absent"
    lead = element("p", what_was_done(summary, subject.borne_out), class_="lead")
    more = [element("p", sentence(text)) for text in (*about_the_task(summary), *places_and_warnings(summary)[0])]
    top = joined(lead, *more, _tiles(subject), _first(subject))
    charts = {
        "accuracy": accuracy_chart(rows, summary),
        "epsilon": epsilon_chart(rows, summary),
        "survivors": survivors_chart(rows, summary),
        "seconds": None if absent else seconds_chart(rows),
    }
    figures = [draw(chart, f"figure-{name}") for name, chart in charts.items() if chart is not None]
    figures.append(_bytes(summary))
    alone = "Epsilon and seconds by round are in a run folder’s metrics and not in a runs.json."
    sections = [
        Section(
            "figures",
            "Round by round",
            joined(
                element("p", alone) if absent else None,
                element("div", *figures, class_="figures"),
                _scores(summary),
            ),
        ),
        Section("privacy", "The three epsilons in plain words", in_plain_words(summary)),
        Section("ledger", "The ledger" if absent else "The ledger, verified", _ledger(subject)),
        Section("configuration", "Configuration", _configuration(summary["config"])),
        Section("environment", "What it ran on", _environment(summary)),
    ]
    return top, sections


def _tiles(subject: Subject) -> Html:
    summary, absent = subject.summary, subject.check.verdict == "absent"
    views = summary["privacy"]["views"]
    asked = summary["config"]["privacy"].get("epsilon")
    holds, why = proven(summary)
    held = bounded(summary)
    realised = views[held]["epsilon"]
    # True and worthless at once is nothing to be glad of.
    useful = realised is not None and bounds(realised, summary["privacy"]["delta"]).useful
    ideal = summary.get("idealised_release_epsilon")
    if asked is None:
        given = summary["config"]["privacy"].get("noise_multiplier")
        wanted, about = "none", f"the noise was given: multiplier {given:g}" if given is not None else "no noise"
    else:
        wanted, about = f"{asked:g}", f"delta {summary['privacy']['delta']:g}, {unit_of(summary)}"
        cohort = extrapolates(summary)
        if cohort is not None:
            about += f"; for {cohort:,} clients, who are not there"
    if not subject.borne_out:
        guaranteed = [tile("Guarantee", "none", "the ledger does not bear out these numbers", kind="bad")]
    elif summary["privacy"]["private"]:
        guaranteed = [
            tile(
                "Epsilon realised",
                epsilon(realised),
                f"in the {held} view",
                ", ".join(f"{view} {epsilon(views[view]['epsilon'])}" for view in VIEWS if view != held),
            ),
            tile(
                "Proven",
                "yes" if holds else "no",
                why,
                None if useful else "an epsilon this large promises next to nothing",
                kind="good" if holds and useful else "bad",
            ),
        ]
    else:
        guaranteed = [tile("Guarantee", "none", why, kind="bad")]
    tiles = [
        tile("Accuracy before", percent(summary["accuracy_before"]), "the untuned base"),
        tile("Accuracy after", percent(summary["accuracy_after"]), summary["ended"]),
        tile("Epsilon asked for", wanted, about),
        *guaranteed,
        tile("Ledger", verdict(subject.check), None if absent else "verified when this page was made"),
    ]
    if ideal is not None and summary["privacy"]["private"]:
        note = f"Real-valued Gaussian noise of this size would have a release epsilon of {ideal:.3f} (by PLD)."
        return joined(element("dl", *tiles, class_="tiles"), element("p", note))
    return element("dl", *tiles, class_="tiles")


def _first(subject: Subject) -> Html:
    """What a reader must know before a number is cited."""
    summary, boxes = subject.summary, []
    if not summary["privacy"]["private"]:
        boxes.append(
            box("danger", "This run is not private", element("p", "Its epsilons are no guarantee for anybody."))
        )
    if subject.check.verdict == "fault":
        told = element("p", subject.check.sentence)
        boxes.append(box("danger", "The ledger does not bear out these numbers", told))
    _, notes = places_and_warnings(summary)
    if notes:
        boxes.append(box(None, "Read this first", element("ul", *(element("li", note) for note in notes))))
    return joined(*boxes)


def _scores(summary: dict[str, Any]) -> Html | None:
    before, after = summary.get("scores_before", {}), summary.get("scores_after", {})
    names = [name for name in after if name in before]
    if len(names) < 2:
        return None
    rows = [[name.replace("_", " "), score(before[name]), score(after[name])] for name in names]
    return table(f"All scores on {in_words(summary, 'scored_on')}", ["score", "before", "after"], rows)


def _bytes(summary: dict[str, Any]) -> Html:
    sent, plain = summary["bytes_per_client"], _FLOAT32 * summary["parameters"]
    whole = sent * summary["rounds_done"]
    width = summary.get("ring_bits")
    return bars(
        "Bytes a client sends in a round",
        (f"In a ring of 2^{width}. " if width else "") + f"Over {summary['rounds_done']:,} rounds: {sized(whole)}.",
        [("sent here", sent), ("the same vector as plain float32", plain)],
        lambda value: f"{value:,.0f}",
    )


def _ledger(subject: Subject) -> Html:
    check, privacy = subject.check, subject.summary["privacy"]
    openings = f"{privacy['openings']:,} in {privacy['rounds']:,} rounds"
    pairs: list[tuple[Content, Content]] = [
        ("verdict", verdict(check)),
        ("finding", check.sentence),
        ("lines", f"{check.lines:,}" if check.lines is not None else None),
        ("hash of the last line", element("code", check.head) if check.head else None),
        ("sums opened", openings),
        ("run", element("code", privacy["run"])),
        ("accountant", privacy["accountant"].upper()),
        ("to verify it again", _verifying(subject)),
    ]
    about = (
        "Every sum was written into a chained ledger before it was opened, so that a crash can only count too much. A "
        "changed, missing or reordered line breaks the chain. Whoever could rewrite all of the run’s files could also "
        "make a new chain: compare the last hash with one that was kept elsewhere."
    )
    # What the accountant says of its numbers, where they are anybody's guarantee.
    notes = [element("p", note) for note in privacy["notes"] if privacy["private"] and subject.borne_out]
    return joined(element("p", about), facts([pair for pair in pairs if pair[1] is not None]), *notes)


def _verifying(subject: Subject) -> Html:
    """The command, from where the page was made; no place on this machine is told beyond that."""
    place = subject.folder
    if place is not None and not place.is_absolute():
        return element("code", shlex.join(["sotto", "ledger", str(place)]))
    return joined(element("code", shlex.join(["sotto", "ledger", subject.name])), " in the folder that holds the run’s")


def _configuration(config: dict[str, Any]) -> Html:
    rows = [[key(name), setting(value), setting(usual)] for name, value, usual in changed(config)]
    return joined(
        table("What differs from the defaults", ["key", "here", "default"], rows, words=True)
        if rows
        else element("p", "Every key has its default."),
        folded("The whole configuration", element("pre", as_yaml(config), tabindex=0)),
    )


def _environment(summary: dict[str, Any]) -> Html:
    pairs: list[tuple[Content, Content]] = [
        ("seconds", f"{summary['seconds']:,.1f}, of which {summary.get('seconds_rounds', 0):,.1f} in rounds"),
        *machine([summary]),
    ]
    return facts(pairs)
