"""HTML as values: elements whose text and attributes are escaped because there is no other way to make them.

Takes strings, numbers and elements; gives `Html`, which only this module makes from text. Tags are balanced by
construction. A plain string is never taken for markup, whoever wrote it.
"""

from __future__ import annotations

import html
import re

__all__ = ["Content", "Html", "element", "joined", "raw", "text"]

# What the parser refuses, and what would show other text than there is: control characters, lone surrogates, and the
# marks that turn the direction of writing.
_NEVER_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_VOID = frozenset({"meta", "wbr"})


class Html(str):
    """Markup; whatever is no `Html` is escaped."""

    __slots__ = ()


Content = str | int | float | None


def text(content: Content) -> Html:
    """Content as markup: `Html` as it is, None as nothing, all else escaped."""
    if isinstance(content, Html):
        return content
    return Html("" if content is None else html.escape(_NEVER_SHOWN.sub("\ufffd", str(content)), quote=True))


def joined(*content: Content) -> Html:
    """One after another."""
    return Html("".join(text(item) for item in content))


def element(tag: str, *content: Content, **attributes: Content | bool) -> Html:
    """One element with its content.

    Args:
        tag: its name, from this program.
        content: text (escaped), numbers or elements; None is left out.
        attributes: `class_` and `for_` are without their underscore, and an underscore inside is a hyphen. None and
            False are left out, True is an attribute without a value.
    """
    given = ""
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        given += f" {written}" if value is True else f' {written}="{text(value)}"'
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{joined(*content)}</{tag}>")


def raw(tag: str, content: str, **attributes: Content | bool) -> Html:
    """A style or script of this program's own, whose text HTML does not unescape; nothing of a run may go in.

    Raises:
        ValueError: if the text would end its element.
    """
    if "</" in content:
        raise ValueError(f"the text of a {tag} may not hold an end tag")
    return element(tag, Html(content), **attributes)
