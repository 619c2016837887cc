"""A ledger that several test files damage in their own copies."""

import pytest

from tests.fl_core.privacy.ledgers import filled


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("written") / "ledger.jsonl")
