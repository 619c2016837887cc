"""The page in Chromium: it fits a phone, asks for nothing, needs no script, and is told to screen readers."""

from __future__ import annotations

import pytest

from experiments.html_report import write_page
from tests.experiments.html_report.browser import Browser, chromium
from tests.experiments.html_report.sample import HOSTILE, sample_run

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome is on the path")

PHONE, DESK = (360, 800), (1280, 900)


@pytest.fixture(scope="module")
def browser():
    with Browser(chromium()) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A run with long hostile strings, and a sweep."""
    home = tmp_path_factory.mktemp("pages")
    long = "x" * 300
    run = sample_run(home / "a", notes=(HOSTILE, long), source=long, targets=[long])
    write_page([run], {"own": home / "a" / "ledger.jsonl"}, home / "run.html", HOSTILE)
    kinds = {"own@1": {}, "own@2": {"after": 0.8}, "local": {"trust": "local", "after": 0.4}, "none": {"trust": "none"}}
    runs = [sample_run(home / name, name, **kind) for name, kind in kinds.items()]
    write_page(runs, {name: home / name / "ledger.jsonl" for name in kinds}, home / "sweep.html", "a" + long)
    return home


@pytest.mark.parametrize("name", ["run", "sweep"])
@pytest.mark.parametrize("size", [PHONE, (320, 700), DESK])
def test_nothing_is_wider_than_the_window_and_nothing_is_fetched(browser, pages, name, size):
    path = pages / f"{name}.html"
    browser.open(path, *size)
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    # Also with everything folded open.
    browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.logs == []
    assert browser.ask("document.title").startswith(("</title>", "axxx"))


def test_text_is_large_enough_to_read_on_a_phone_in_figures_too(browser, pages):
    browser.open(pages / "run.html", *PHONE)
    heights = browser.ask(
        "[...document.querySelectorAll('figure > svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert len(heights) > 10
    assert min(heights) >= 11


def test_links_buttons_and_summaries_are_large_enough_to_touch(browser, pages):
    browser.open(pages / "sweep.html", *PHONE)
    sizes = browser.ask("[...document.querySelectorAll('nav a, summary')].map(e => e.getBoundingClientRect().height)")
    assert min(sizes) >= 24  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize(("dark", "lighter"), [(False, "page"), (True, "ink")])
def test_it_is_as_dark_as_the_readers_system(browser, pages, dark, lighter):
    browser.open(pages / "run.html", *DESK, dark=dark)
    light = "s => (s.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0))"
    of = "getComputedStyle(document.body)"
    page, ink = browser.ask(f"[{of}.backgroundColor, {of}.color].map({light})")
    assert ("page" if page > ink else "ink") == lighter


def test_without_scripts_everything_but_sorting_is_there(browser, pages):
    browser.open(pages / "sweep.html", *DESK, scripts=False)
    roles = browser.roles()
    assert ("button", "accuracy after") not in roles
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert role in {found for found, _ in roles}
    assert any(role == "image" and name.startswith("Accuracy by round, 12 clients") for role, name in roles)
    assert ("heading", "The three epsilons in plain words") in roles
    assert any(role in ("DisclosureTriangle", "button") and name == "The numbers" for role, name in roles)


def test_with_scripts_the_arms_sort_by_a_column(browser, pages):
    browser.open(pages / "sweep.html", *DESK)
    click = "[...document.querySelectorAll('.sort')].find(b => b.textContent === 'accuracy after').click()"
    names = "[...document.querySelectorAll('table[data-sortable] tbody th')].map(t => t.textContent)"
    browser.ask(click)
    assert browser.ask(names) == ["local", "own", "none"]
    browser.ask(click)
    assert browser.ask(names) == ["none", "own", "local"]
    assert browser.ask("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"


def test_the_keyboard_reaches_the_report_first_and_sees_where_it_is(browser, pages):
    browser.open(pages / "run.html", *PHONE)
    browser.press("Tab", 9)
    focused = "document.activeElement"
    assert browser.ask(f"{focused}.className") == "skip"
    assert browser.ask(f"{focused}.getBoundingClientRect().left") >= 0
    assert browser.ask(f"getComputedStyle({focused}).outlineStyle") == "solid"
    assert browser.ask(f"parseFloat(getComputedStyle({focused}).outlineWidth)") >= 2
