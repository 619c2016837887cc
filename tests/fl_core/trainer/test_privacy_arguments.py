"""A guarantee that cannot be is one sentence, in the words of the arguments."""

from __future__ import annotations

import pytest

from fl_core import PrivacyArguments
from fl_core.config import ConfigError


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "epsilon is missing, and so is noise_multiplier"),
        ({"epsilon": 1, "noise_multiplier": 1}, "epsilon is set, and so is noise_multiplier"),
        ({"epsilon": -1}, "epsilon is -1; allowed: a number above 0"),
        ({"epsilon": 1, "delta": 2}, "delta is 2; allowed: above 0 and below 1"),
        ({"epsilon": 1, "mechanism": "laplace"}, "mechanism is 'laplace'; allowed: gaussian"),
    ],
)
def test_an_impossible_guarantee_is_one_sentence(wrong, says):
    with pytest.raises(ConfigError, match=says):
        PrivacyArguments(**wrong)
