"""Text is text whoever wrote it, and elements are balanced."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.html_report.markup import Html, element, joined, raw, text
from tests.experiments.html_report.sample import HOSTILE

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Reader(HTMLParser):
    """What a parser makes of markup."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@given(st.text(st.characters(codec=None)))
def test_any_text_comes_back_as_the_text_of_one_element_and_of_one_attribute(content):
    read = Reader(element("p", content, title=content))
    shown = HIDDEN.sub("\ufffd", content)
    assert read.tags == ["p"]
    assert "".join(read.texts) == shown
    assert read.attributes == [("title", shown)]


def test_text_that_looks_like_markup_or_hides_is_shown():
    made = element("b", HOSTILE, aria_label=HOSTILE)
    assert Reader(made).tags == ["b"]
    made.encode()  # no lone surrogate is left
    assert not HIDDEN.search(made)


def test_only_elements_are_taken_for_markup():
    assert element("ul", element("li", "<a>"), "<b>", 3, None) == "<ul><li>&lt;a&gt;</li>&lt;b&gt;3</ul>"
    assert isinstance(joined("<", Html("<br>")), Html)
    assert joined("<", Html("<br>")) == "&lt;<br>"
    assert text(None) == ""


def test_attributes_are_named_as_in_html_and_left_out_where_there_is_none():
    made = element("td", class_="a", data_label="b", hidden=True, id=None, draggable=False)
    assert made == '<td class="a" data-label="b" hidden></td>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_a_style_or_script_cannot_be_ended_from_inside():
    assert raw("style", "a>b{}") == "<style>a>b{}</style>"
    with pytest.raises(ValueError, match="end tag"):
        raw("script", "</script>")
