"""Tables with a caption, a scope on every heading, and a region that scrolls by itself where a phone is too narrow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experiments.html_report.markup import Content, Html, element, joined

__all__ = ["facts", "folded", "key", "setting", "table"]


def table(
    caption: Content,
    columns: Sequence[Content],
    rows: Sequence[Sequence[Content]],
    sortable: bool = False,
    words: bool = False,
) -> Html:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        columns: one heading a column.
        rows: cells, the row's name first.
        sortable: a reader with scripts may sort it by a column.
        words: cells hold words, which start at the left, and no numbers.
    """
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    made = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", *body),
        class_="words" if words else "wide",
        data_sortable=True if sortable else None,
    )
    # A region that scrolls must be reachable by keyboard and have a name.
    return element("div", made, class_="scroll", tabindex=0, role="region", aria_label=f"Table: {caption}")


def facts(pairs: Sequence[tuple[Content, Content]]) -> Html:
    """Names and values, one under another."""
    return element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in pairs), class_="facts")


def key(name: str) -> Html:
    """The name of a setting, which may be broken after a dot or an underscore."""
    return element("code", _breakable(name))


def setting(value: object) -> Html:
    """The value of a setting, as YAML has it, which may be broken as names are."""
    return _breakable("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


def _breakable(words: str) -> Html:
    return joined(
        *(joined(part, element("wbr")) if part in "._" else part for part in re.split("([._])", words) if part)
    )


def folded(title: Content, *content: Content) -> Html:
    """Content that opens when it is asked for, without a script."""
    return element("details", element("summary", title), *content)
