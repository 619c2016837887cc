"""The document: one file that loads nothing, needs no script, and says what it was made from.

Takes runs and where their ledgers are; writes HTML. Its content security policy lets nothing be fetched and nothing run
but its own style sheet and its own script, so that even markup that slipped through could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from experiments.arms import Run
from experiments.html_report.ledger_check import check_ledger
from experiments.html_report.markup import Html, element, joined, raw
from experiments.html_report.run_page import run_sections
from experiments.html_report.sections import Section, Subject
from experiments.html_report.sorting import SCRIPT
from experiments.html_report.style import style
from experiments.html_report.sweep_page import sweep_sections
from fl_core.storage import write_atomically

__all__ = ["write_page"]


def write_page(
    runs: Sequence[Run], ledgers: Mapping[str, Path], path: Path, title: str | None = None
) -> dict[str, str]:
    """Write the page about `runs` to `path`; one run has a page of its own, several are compared.

    Args:
        runs: (name, metrics rows, summary), names all different; at least one. Summaries from files were checked by
            `experiments.stored_runs.load_runs`.
        ledgers: path of the ledger by the run's name; runs without one are said to be not verified.
        path: HTML file; it is whole or as it was.
        title: of the page; default the run's name, or how many there are.

    Returns:
        What is wrong with a ledger that does not bear out its run's numbers, by the run's name; empty: nothing.

    Raises:
        StorageError: if the page cannot be written.
    """
    places = {name: ledger.parent for name, ledger in ledgers.items()}
    subjects = [Subject(run, check_ledger(ledgers.get(run[0]), run[2]), places.get(run[0])) for run in runs]
    private = all(subject.summary["privacy"]["private"] for subject in subjects)
    if len(subjects) == 1:
        kind, (top, sections) = (
            "A private fine-tuning run" if private else "A fine-tuning run without privacy",
            run_sections(subjects[0]),
        )
        named = title or subjects[0].name
    else:
        kind, (top, sections) = (
            f"{'Private fine' if private else 'Fine'}-tuning runs, side by side",
            sweep_sections(subjects),
        )
        named = title or f"{len(subjects)} runs"
    write_atomically(path, _document(named, kind, top, sections).encode())
    return {subject.name: subject.check.sentence for subject in subjects if not subject.borne_out}


def _document(title: str, kind: str, top: Html, sections: Sequence[Section]) -> Html:
    sheet, script = style(), SCRIPT
    policy = (
        f"default-src 'none'; style-src '{_digest(sheet)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Before anything that it governs.
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{title} – Sotto report"),
        raw("style", sheet),
    )
    links = [element("li", element("a", section.heading, href=f"#{section.id}")) for section in sections]
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        element(
            "header",
            element("p", kind, class_="kind"),
            element("h1", title),
            element("nav", element("ul", *links), aria_label="Sections"),
        ),
        element("main", element("h2", "At a glance"), top, *map(_section, sections), id="report", tabindex=-1),
        _footer(),
        raw("script", script),
    )
    return joined(Html("<!doctype html>\n"), element("html", head, body, lang="en"), Html("\n"))


def _section(section: Section) -> Html:
    name = f"{section.id}-heading"
    return element(
        "section", element("h2", section.heading, id=name), section.content, id=section.id, aria_labelledby=name
    )


def _footer() -> Html:
    now = datetime.now(UTC)
    made = element("time", f"{now:%d %B %Y, %H:%M} UTC", datetime=now.isoformat(timespec="seconds"))
    return element(
        "footer",
        element("p", "Made by sotto report on ", made, ". The page is one file, loads nothing and sends nothing."),
    )


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
