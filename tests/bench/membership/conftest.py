"""The sequences of the embedded text."""

from __future__ import annotations

import pytest

from bench.membership.candidates import all_sequences
from bench.membership.design import config_of
from tests.bench.membership.made_up import PRIVATE, TINY


@pytest.fixture(scope="module")
def topics():
    return all_sequences(config_of(TINY, PRIVATE, 1))
