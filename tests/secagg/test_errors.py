"""A sentence is one line of bounded length that any terminal can show, whatever it quotes."""

from __future__ import annotations

import copy
import pickle

import pytest

from secagg.errors import PartyFailure, SottoError


def test_an_ordinary_sentence_is_as_it_was_written():
    text = "privacy.delta is 2.0; allowed: above 0 and below 1 (é, ∞)"
    assert str(SottoError(text)) == text
    assert str(SottoError()) == ""
    assert str(SottoError(ValueError("x"))) == "x"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2Jgone", "a\x00b", "\u202eb", "\ud800", "a\r\nb"])
def test_what_could_upset_a_terminal_is_escaped(text):
    said = str(SottoError(f"value {text} is wrong"))
    assert said.isprintable()
    assert said.startswith("value ")
    assert said.endswith(" is wrong")
    said.encode()


def test_a_long_sentence_loses_its_middle_and_keeps_what_is_allowed():
    said = str(SottoError("key " + "x" * 100_000 + "; allowed: 1 to 5"))
    assert len(said) == 800
    assert said.startswith("key x")
    assert "..." in said
    assert said.endswith("x; allowed: 1 to 5")


def test_an_error_survives_copying_and_pickling():
    error = PartyFailure("party 1 is gone")
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(same), str(same)) == (PartyFailure, "party 1 is gone")
