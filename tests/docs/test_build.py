"""The documentation builds without a warning, and its references are complete."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from dataclasses import fields, is_dataclass

import pytest

from fl_core.config import RunConfig
from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
absent = [name for name in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(name) is None]
needs_sphinx = pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)} (pip install '.[docs]')")


@pytest.fixture(scope="module")
def building():
    """The modules that the pages are made with, as Sphinx finds them."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def site(tmp_path_factory, building):
    from sphinx.cmd.build import build_main

    out = tmp_path_factory.mktemp("site")
    said = out / "warnings"
    options = ["-q", "-W", "--keep-going", "-w", str(said), "-d", str(out / "trees"), "-b", "html"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Sphinx's extensions about each other
        code = build_main([*options, str(DOCS), str(out / "html")])
    assert code == 0, said.read_text()
    return out / "html"


@needs_sphinx
def test_every_page_is_built_and_reached_from_the_index(site):
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    built = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")}
    assert pages <= built
    index = (site / "index.html").read_text()
    for page in pages - {"index"}:
        assert f'href="{page}.html"' in index


@needs_sphinx
def test_documents_of_the_repository_are_shown_whole_and_their_links_lead_to_files(site):
    threat = (site / "threat-model.html").read_text()
    assert "Who must not collude" in threat
    assert "Reporting a fault" in threat
    assert 'href="deployment-flower.html#what-this-does-not-give"' in threat
    for path in site.rglob("*.html"):
        for target in re.findall(r'href="([^"#]+)[^"]*"', path.read_text()):
            if "://" not in target and not target.startswith(("mailto:", "data:")):
                assert (path.parent / target.split("?")[0]).exists(), f"{path.name}: {target}"


@needs_sphinx
def test_drawings_have_a_description_for_those_who_do_not_see_them(site):
    page = (site / "concepts.html").read_text()
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 5
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)


@needs_sphinx
def test_public_names_are_in_the_reference_with_what_they_say(site):
    import kernels
    import secagg

    page = (site / "reference" / "api.html").read_text()
    for name in [*(f"kernels.{one}" for one in kernels.__all__), *(f"secagg.{one}" for one in secagg.__all__)]:
        assert f'id="{name}"' in page
    assert "DP-SGD" in page


def keys(schema, prefix=""):
    for item in fields(schema):
        factory = item.default_factory
        if is_dataclass(factory):
            yield from keys(factory, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def test_every_key_is_in_the_reference_with_its_meaning(building):
    module = building("building.config_reference")
    found = {key.name: key for name, schema in module._sections(RunConfig, "") for key in module.keys_of(name, schema)}
    assert set(found) == set(keys(RunConfig))
    assert [key.name for key in found.values() if not key.comment] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("privacy.unit", "example, client"),
        ("federation.sample_rate", "above 0 and at most 1"),
        ("engine.cohort_size", "1 or more, or null"),
        ("privacy.insecure_seed", ""),
    ],
)
def test_allowed_values_are_those_of_the_check(building, name, values):
    assert building("building.config_reference").allowed(name) == values


def test_a_comment_in_brackets_goes_on_from_the_key_before(building):
    module = building("building.config_reference")
    (engine,) = (schema for name, schema in module._sections(RunConfig, "") if name == "engine")
    said = {key.name: key.comment for key in module.keys_of("engine", engine)}
    assert said["engine.cohort_size"].endswith("so that both engines give the same bits)")
    assert "same bits" not in said["engine.cohort_gib"]


def test_every_command_is_in_the_reference_with_its_options(building):
    text = building("building.cli_reference").cli_reference()
    for command in (
        "run",
        "data import",
        "data list",
        "party",
        "party init",
        "party assemble",
        "budget show",
        "ledger",
    ):
        assert f"## `sotto {command}`\n" in text
    assert "| `--user-column` text | `user` | Column or key that names the user |" in text
    assert "| `--seed` integer | `0` | Public seed of who is held out |" in text


@needs_sphinx
@pytest.mark.parametrize("mark", ["<!-- include: NONE.md -->", "<!-- generated: none -->", "[x](../none.md)"])
def test_what_a_page_asks_for_must_be_there(building, mark):
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError):
        building("building.pages").filled(mark, DOCS / "faq.md")
