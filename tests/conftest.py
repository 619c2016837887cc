"""Settings for the whole suite: which data it runs on, and how hypothesis behaves on a busy machine."""

from __future__ import annotations

import os

from hypothesis import settings

# Machines are shared and noisy: no time limit for an example. In CI the same examples every time.
settings.register_profile("sotto", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("sotto")


def pytest_report_header() -> str:
    folder = os.environ.get("SOTTO_DATA")
    if folder and os.path.isdir(folder):
        return "data: real data sets from SOTTO_DATA"
    return "data: embedded sets only (SOTTO_DATA is not set or no folder); tests on real data are skipped"
