"""What a run may go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.runs import _refuse_other_run
from fl_core.config import ConfigError
from tests.fl_core.privacy.test_ledger import HEADER

KNOWN = replace(HEADER, data="mnist", contribution="an image")
FOLDER = SimpleNamespace(path=Path("runs/one"))


def test_a_ledger_that_does_not_say_what_it_is_about_is_gone_on_with():
    for before in (KNOWN, HEADER, replace(HEADER, data="mnist"), replace(HEADER, contribution="an image")):
        _refuse_other_run(replace(KNOWN, run="new"), before, FOLDER)


@pytest.mark.parametrize("change", [{"data": "digits"}, {"contribution": "a user"}, {"clients": 11}])
def test_a_run_on_something_else_is_not(change):
    with pytest.raises(ConfigError, match=f"cannot resume runs/one: the ledger's {next(iter(change))} was"):
        _refuse_other_run(replace(KNOWN, run="new"), replace(KNOWN, **change), FOLDER)
