"""Three parties with a spool for all tests of this folder; every test has a run of its own."""

from __future__ import annotations

import pytest

from secagg.smpc import SmpcAggregator


@pytest.fixture(scope="session")
def spool(tmp_path_factory):
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="session")
def aggregator(spool):
    with SmpcAggregator(3, 30.0, spool=spool) as found:
        yield found
