"""Settings for the whole suite: which data it runs on, and how hypothesis behaves on a busy machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from secagg import SmpcAggregator

# Before anything imports triton: without a GPU its kernels run in the interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A suite that runs in a shell's background inherits an ignored SIGINT, as no terminal's program does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines are shared and noisy: no time limit for an example. In CI the same examples every time.
settings.register_profile("sotto", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("sotto")


@pytest.fixture(scope="session")
def parties() -> Iterator[SmpcAggregator]:
    """Three parties and a dealer, which take seconds to start: for tests that have sums opened and break nothing.

    No round of a run is opened twice, so every test has a run of its own.
    """
    from secagg import SmpcAggregator

    with SmpcAggregator(3, timeout_s=60, norm_check=True) as aggregator:
        yield aggregator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU here"))


def pytest_report_header() -> str:
    folder = os.environ.get("SOTTO_DATA")
    if folder and os.path.isdir(folder):
        return "data: real data sets from SOTTO_DATA"
    return "data: embedded sets only (SOTTO_DATA is not set or no folder); tests on real data are skipped"
