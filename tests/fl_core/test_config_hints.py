"""Words about a mistaken key: whence, what it takes, which was meant."""

from __future__ import annotations

import pytest

from fl_core.config import RunConfig
from fl_core.config_hints import allowed_words, keys_called, origin


def test_the_last_override_that_names_the_key_is_the_origin():
    given = ["privacy.epsilon=1", "privacy.delta=2", "privacy.epsilon=3"]
    assert origin("privacy.epsilon", given, "run.yaml") == "override 'privacy.epsilon=3'"
    assert origin("privacy.delta or privacy.x", given, "run.yaml") == "override 'privacy.delta=2'"
    assert origin("privacy.trust", given, "run.yaml") == "run.yaml"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("privacy.epsilon", "a number, or null"),
        ("federation.clients", "a whole number"),
        ("aggregation.norm_check", "true or false"),
        ("data.name", "a text"),
        ("lora.targets", "a list such as [a,b]"),
        ("privacy", ""),
        ("lora.targets[0]", ""),
        ("?", ""),
    ],
)
def test_every_kind_of_value_has_words(key, words):
    assert allowed_words(RunConfig, key) == words


def test_a_key_is_found_without_its_section():
    assert keys_called(RunConfig, "epsilon") == ["privacy.epsilon"]
    assert len(keys_called(RunConfig, "batch_size")) > 1
    assert keys_called(RunConfig, "nothing") == []
