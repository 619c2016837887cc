"""The page of several runs: their arms side by side, each with its mean and deviation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from experiments.arm_table import arm_table
from experiments.arms import Arm, arms_of
from experiments.formatting import epsilon, measured, percent
from experiments.html_report.bars import bars
from experiments.html_report.chart_svg import draw
from experiments.html_report.configuration import as_yaml, changed, flat, varying
from experiments.html_report.epsilon_section import meaning_table
from experiments.html_report.markup import Content, Html, element, joined
from experiments.html_report.sections import Section, Subject, box, machine, tile, verdict
from experiments.html_report.sweep_charts import accuracy_charts, epsilon_charts, trust_charts
from experiments.html_report.tables import facts, folded, key, setting, table
from experiments.html_report.together import spent_together
from experiments.html_report.wording import UNITS, about_the_task, bounded, proven, sentence
from experiments.summary import extrapolates, in_words, places_and_warnings, warnings_and_notes
from fl_core.privacy.views import VIEWS

__all__ = ["sweep_sections"]

_MOST_ROWS = 12  # of a table that is not folded away


def sweep_sections(subjects: Sequence[Subject]) -> tuple[Html, list[Section]]:
    """What stands above everything, and the sections."""
    arms = arms_of([subject.run for subject in subjects])
    notes = _notes(arms)
    absent = all(subject.check.verdict == "absent" for subject in subjects)
    top = joined(
        element("p", _what_was_done(arms), class_="lead"),
        *(element("p", sentence(text)) for text in (*_shared_words(arms), *_shared_places(arms))),
        _tiles(arms, subjects),
        _first(subjects, arms, notes),
    )
    return top, [
        Section("arms", "The arms", _arms(arms, subjects, notes)),
        Section("figures", "Figures", _figures(arms, subjects)),
        Section("privacy", "The three epsilons in plain words", meaning_table(arms)),
        Section("ledger", "The ledgers" if absent else "The ledgers, verified", _ledgers(subjects)),
        Section("configuration", "Configuration", _configuration(arms)),
        Section("environment", "What they ran on", _environment(arms)),
    ]


def _what_was_done(arms: Sequence[Arm]) -> str:
    summaries = [arm.summary for arm in arms]
    runs, most = sum(len(arm.runs) for arm in arms), max(len(arm.runs) for arm in arms)
    clients = sorted({arm.clients for arm in arms})
    # Two names may be of one setting.
    settings = len({json.dumps(summary["config"], sort_keys=True) for summary in summaries})
    epsilons = sorted({arm.epsilon_asked for arm in arms if arm.epsilon_asked is not None})
    sources = dict.fromkeys(str(summary["source"]) for summary in summaries)
    said = (
        f"{runs} run{'s' if runs > 1 else ''} of {settings} setting{'s' if settings > 1 else ''} fine-tuned a LoRA "
        f"adapter on {_listed(list(sources))}, held by {_listed([f'{count:,}' for count in clients])} clients, "
        f"{_protection(arms)} and trust {_listed(sorted({arm.trust for arm in arms}))}"
    )
    said += f", at epsilon {_listed([f'{value:g}' for value in epsilons])}" if epsilons else ""
    return said + (
        f"; settings were run up to {most} times, each time with randomness of its own." if most > 1 else "."
    )


def _protection(arms: Sequence[Arm]) -> str:
    """What is protected, in how many of the settings where not in all."""
    private = [arm for arm in arms if arm.summary["privacy"]["private"]]
    if not private:
        return "without privacy"
    units = dict.fromkeys(UNITS[arm.summary["privacy"]["unit"]] for arm in private)
    some = f" in {len(private)} of {len(arms)} settings" if len(private) < len(arms) else ""
    return f"with {_listed(list(units))} protected{some}"


def _tiles(arms: Sequence[Arm], subjects: Sequence[Subject]) -> Html:
    free = [arm for arm in arms if arm.trust == "none"]
    private = [arm for arm in arms if _proven(arm, subjects)]
    untuned = [arm.mean("accuracy_before") for arm in arms]
    spread = dict.fromkeys([percent(min(untuned)), percent(max(untuned))])
    tiles = [tile("Accuracy before", " to ".join(spread), "the untuned base")]
    if free:
        best = max(free, key=lambda arm: arm.mean("accuracy_after"))
        tiles.append(tile("Best without privacy", percent(best.mean("accuracy_after")), _spread(best), best.name))
    if private:
        # Better with nobody who is trusted with every message, where there is such an arm.
        safest = [arm for arm in private if arm.summary["privacy"]["views"]["aggregators"]["epsilon"] is not None]
        # And an extrapolation is another federation's epsilon.
        own = [arm for arm in safest or private if extrapolates(arm.summary) is None]
        best = max(own or safest or private, key=lambda arm: arm.mean("accuracy_after"))
        asked, views = best.epsilon_asked, best.summary["privacy"]["views"]
        got = ", ".join(f"{view} {epsilon(views[view]['epsilon'])}" for view in VIEWS)
        tiles.append(tile("Best with a proven epsilon", percent(best.mean("accuracy_after")), _spread(best), best.name))
        wanted = f"asked for {asked:g}" if asked is not None else "the noise was given"
        wanted += "; of one run alone"
        tiles.append(tile("Its epsilon realised", epsilon(views[bounded(best.summary)]["epsilon"]), wanted, got))
        tiles.append(
            tile("Epsilons proven", f"{len(private)} of {len(arms)}", "arms, for the integers that were drawn")
        )
    intact = sum(subject.check.verdict == "intact" for subject in subjects)
    absent = sum(subject.check.verdict == "absent" for subject in subjects)
    about = f"{absent} not here, so not verified" if absent else "verified when this page was made"
    tiles.append(
        tile("Ledgers intact", f"{intact} of {len(subjects)}" if absent < len(subjects) else "not here", about)
    )
    return element("dl", *tiles, class_="tiles")


def _spread(arm: Arm) -> str | None:
    deviation = arm.deviation("accuracy_after")
    return None if deviation is None else f"± {percent(deviation)} between {len(arm.runs)} runs"


def _first(subjects: Sequence[Subject], arms: Sequence[Arm], notes: dict[str, int]) -> Html:
    boxes = []
    bare = [arm.name for arm in arms if not arm.summary["privacy"]["private"]]
    if bare:
        boxes.append(box("danger", "Not private", element("p", f"These epsilons are no guarantee: {', '.join(bare)}.")))
    faults = [subject for subject in subjects if subject.check.verdict == "fault"]
    if faults:
        listed = [element("li", f"{subject.name}: {subject.check.sentence}") for subject in faults]
        boxes.append(box("danger", "Ledgers that do not bear out their numbers", element("ul", *listed)))
    together = spent_together(subjects)
    if together:
        boxes.append(box(None, "All of these runs together", *(element("p", told) for told in together)))
    if notes:
        listed = [element("li", note) for note in notes]
        boxes.append(box(None, "Read this first", element("ol", *listed)))
    return joined(*boxes)


def _shared_words(arms: Sequence[Arm]) -> list[str]:
    """What is learnt and what a record is, as far as it is the same in every run."""
    first, *others = [about_the_task(summary) for arm in arms for summary in arm.summaries]
    return [text for text in first if all(text in other for other in others)]


def _shared_places(arms: Sequence[Arm]) -> list[str]:
    """Where the simulations ran, as far as it is true of every run."""
    first, *others = [places_and_warnings(summary)[0] for arm in arms for summary in arm.summaries]
    return [text for text in first if all(text in other for other in others)]


def _notes(arms: Sequence[Arm]) -> dict[str, int]:
    """Every warning and note that is not said of all runs above, with its number, in the order of the arms."""
    found: dict[str, int] = {}
    said = {*_shared_places(arms), *(in_words(summary, "about") for arm in arms for summary in arm.summaries)}
    for arm in arms:
        for summary in arm.summaries:
            for note in warnings_and_notes(summary):
                if note not in said:
                    found.setdefault(note, len(found) + 1)
    return found


def _proven(arm: Arm, subjects: Sequence[Subject]) -> bool:
    """Whether the epsilons of an arm are a guarantee, as far as the ledgers of its runs bear them out."""
    runs = {name for name, _, _ in arm.runs}
    return proven(arm.summary)[0] and all(subject.borne_out for subject in subjects if subject.name in runs)


def _arms(arms: Sequence[Arm], subjects: Sequence[Subject], notes: dict[str, int]) -> Html:
    columns, rows = arm_table(arms)
    asked = [arm.epsilon_asked for arm in arms]
    private = any(arm.summary["privacy"]["private"] for arm in arms)
    columns = ["eps asked", *(["proven"] if private else []), *columns, *(["notes"] if notes else [])]
    rows = [
        [
            "-" if wanted is None else f"{wanted:g}",
            *(["yes" if _proven(arm, subjects) else "no"] if private else []),
            *row,
            *(
                [
                    ", ".join(
                        dict.fromkeys(
                            str(notes[note])
                            for one in arm.summaries
                            for note in warnings_and_notes(one)
                            if note in notes
                        )
                    )
                ]
                if notes
                else []
            ),
        ]
        for arm, row, wanted in zip(arms, rows, asked, strict=True)
    ]
    same = [index for index in range(len(columns)) if len(arms) > 1 and len({row[index] for row in rows}) == 1]
    kept = [index for index in range(len(columns)) if index not in same]
    # The result before the circumstances: what a phone shows first.
    kept.sort(key=lambda index: columns[index] not in ("accuracy after", "gain kept"))
    caption = "Mean, with the standard deviation between repetitions" if _repeated(arms) else "One run a row"
    return joined(
        table(
            f"{caption}; ∞: no finite epsilon",
            ["setting", *(columns[index] for index in kept)],
            [[arm.name, *(row[index] for index in kept)] for arm, row in zip(arms, rows, strict=True)],
            sortable=True,
        ),
        folded("The same in all of them", facts([(columns[index], rows[0][index]) for index in same]))
        if same
        else None,
    )


def _figures(arms: Sequence[Arm], subjects: Sequence[Subject]) -> Html:
    charts = [*accuracy_charts(arms), *trust_charts(arms), *epsilon_charts(arms)]
    figures = [draw(chart, f"figure-{number}") for number, chart in enumerate(charts, 1)]
    sent = [(arm.name, arm.mean("bytes_per_client")) for arm in arms]
    times = [(arm.name, arm.mean("seconds_rounds") / max(1.0, arm.mean("rounds_done"))) for arm in arms]
    figures.append(bars("Bytes a client sends in a round", "", sent, lambda value: f"{value:,.0f}"))
    about = "Wall time, evaluation included, mean of the repetitions; runs may have shared the machine with others."
    figures.append(bars("Seconds a round", about, times, measured, 2))
    absent = any(subject.check.verdict == "absent" for subject in subjects)
    alone = "Epsilon by round is in run folders’ metrics and not in a runs.json, so it is missing for runs from there."
    return joined(element("p", alone) if absent else None, element("div", *figures, class_="figures"))


def _ledgers(subjects: Sequence[Subject]) -> Html:
    counts = {
        verdict_: sum(s.check.verdict == verdict_ for s in subjects) for verdict_ in ("intact", "fault", "absent")
    }
    told = f"{counts['intact']} of {len(subjects)} ledgers are intact"
    told += f", {counts['fault']} have a fault" if counts["fault"] else ""
    told += (
        f"; {counts['absent']} runs come from a report’s runs.json, which holds no ledger, and were not verified"
        if counts["absent"]
        else ""
    )
    rows = [
        [
            subject.name,
            verdict(subject.check),
            f"{subject.check.lines:,}" if subject.check.lines is not None else "–",
            element("code", (subject.check.head or "–")[:16]),
            subject.check.sentence,
        ]
        for subject in subjects
    ]
    made = table(
        "Each run’s ledger, as it was when this page was made",
        ["run", "verdict", "lines", "last hash", "finding"],
        rows,
        words=True,
    )
    return joined(
        element("p", f"{told}."), made if len(rows) <= _MOST_ROWS else folded(f"All {len(rows)} ledgers", made)
    )


def _configuration(arms: Sequence[Arm]) -> Html:
    configs = [arm.summary["config"] for arm in arms]
    keys = varying(configs)
    shared = [row for row in changed(configs[0]) if row[0] not in keys]
    rows: list[Sequence[Content]] = [[key(name), setting(value), setting(usual)] for name, value, usual in shared]
    cells: list[Sequence[Content]] = [
        [arm.name, *(setting(flat(config).get(name)) for name in keys)]
        for arm, config in zip(arms, configs, strict=True)
    ]
    heads = ["setting", *map(key, keys)]
    return joined(
        table("The same in all settings, and not the default", ["key", "here", "default"], rows, words=True)
        if rows
        else None,
        table("What the settings differ in", heads, cells) if keys else None,
        folded(f"The whole configuration of {arms[0].name}", element("pre", as_yaml(configs[0]), tabindex=0)),
    )


def _environment(arms: Sequence[Arm]) -> Html:
    summaries = [summary for arm in arms for summary in arm.summaries]
    whole = sum(float(summary["seconds"]) for summary in summaries)
    return facts([("seconds of all runs together", f"{whole:,.0f}"), *machine(summaries)])


def _repeated(arms: Sequence[Arm]) -> bool:
    return any(len(arm.runs) > 1 for arm in arms)


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
