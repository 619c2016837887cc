"""What pages and ARCHITECTURE.md name is there, drawings are drawings, and the glossary has one entry a term."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT

FOLDERS = "kernels|secagg|fl_core|experiments|deploy|bench|tests|docs"
NAMED = re.compile(rf"`((?:(?:{FOLDERS})/[\w./-]*|\.ci/run|[A-Z]+\.md))`")
WITH_FILES = ["ARCHITECTURE.md", "docs/contributing.md", "docs/kernels.md", "docs/deployment.md", "docs/concepts.md"]


@pytest.mark.parametrize("document", WITH_FILES)
def test_every_file_that_is_named_exists(document):
    for name in NAMED.findall((ROOT / document).read_text()):
        assert (ROOT / name).exists(), name


def test_the_architecture_names_every_folder_and_fits_a_page():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = {name for name in NAMED.findall(text) if name.count("/") == 1 and name.endswith("/")}
    assert named == {f"{folder}/" for folder in FOLDERS.split("|")}
    assert len(NAMED.findall(text)) > 40
    assert len(text.splitlines()) <= 80


def test_the_architectures_layers_are_those_of_the_imports():
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    order = [folder for folder, _ in rows]
    for place, folder in enumerate(order[:4]):
        lower = [other for other in order[place + 1 :] if other not in ("tests",)]
        for path in (ROOT / folder).rglob("*.py"):
            found = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
            assert not set(found) & set(lower), path


@pytest.mark.parametrize("document", [one for one in [*DOCUMENTS, "ARCHITECTURE.md"] if one != "README.md"])
def test_every_link_inside_the_repository_leads_to_a_file(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        file = target.partition("#")[0]
        if file and "://" not in target:
            assert (path.parent / file).resolve().exists(), target


@pytest.mark.parametrize("drawing", sorted((ROOT / "docs" / "drawings").glob("*.svg")), ids=lambda path: path.stem)
def test_a_drawing_says_what_it_shows_and_is_legible_on_any_background(drawing):
    tree = ElementTree.parse(drawing)
    named = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert {"title", "desc", "text"} <= named
    assert not named & {"script", "image", "foreignObject"}
    (_, _, width, height) = tree.getroot().attrib["viewBox"].split()
    ground = next(element for element in tree.iter() if element.tag.endswith("}rect"))
    assert (ground.attrib["width"], ground.attrib["height"]) == (width, height)


def test_the_glossary_has_one_entry_a_term_in_order():
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^(\S.*)\n: ", text, re.MULTILINE)
    assert len(terms) > 25
    assert terms == sorted(set(terms), key=str.lower)
