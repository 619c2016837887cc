"""A budget's folder is whole, or one sentence says what is wrong with it."""

from __future__ import annotations

import json

import pytest

from fl_core.budget_folder import Terms, create_budget, spending
from fl_core.storage import StorageError
from secagg.errors import SottoError
from tests.fl_core.budget_runs import DELTA, Run


@pytest.fixture
def budget(tmp_path):
    create_budget(tmp_path / "budget", Terms(4.0, DELTA))
    return tmp_path / "budget"


def test_a_mistyped_folder_is_no_new_budget(tmp_path, budget):
    with pytest.raises(StorageError, match="holds no budget .*sotto budget init"):
        Run(tmp_path / "run", tmp_path / "budgett")
    assert not (tmp_path / "budgett").exists()
    with pytest.raises(StorageError, match="holds a budget already"):
        create_budget(budget, Terms(9.0, DELTA))
    (budget / "budget.json").unlink()
    with pytest.raises(StorageError, match="cannot be read .*without it nothing is opened"):
        spending(budget)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        "{}",
        '{"format": 2, "terms": {"epsilon": 1, "delta": 0.1}, "runs": []}',
        '{"format": 1, "terms": {"epsilon": NaN, "delta": 0.1}, "runs": []}',
        '{"format": 1, "terms": {"epsilon": 1, "delta": 1}, "runs": []}',
        '{"format": 1, "terms": {"epsilon": true, "delta": 0.1}, "runs": []}',
        '{"format": 1, "terms": {"epsilon": 1, "delta": 0.1, "view": "all"}, "runs": []}',
        '{"format": 1, "terms": {"epsilon": 1, "delta": 0.1}, "runs": [3]}',
        '{"format": 1, "terms": {"epsilon": 1, "delta": 0.1}, "runs": [{"run": "a"}]}',
        '{"format": 1, "terms": {"epsilon": 1, "delta": 0.1}, "runs":'
        ' [{"run": 1, "ledger": "", "lines": 1, "head": ""}]}',
    ],
)
def test_a_damaged_budget_is_one_sentence(budget, content):
    (budget / "budget.json").write_text(content)
    with pytest.raises(StorageError, match="is damaged .*until then nothing is opened") as refused:
        spending(budget)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_budget_nested_deeply_is_damage(tmp_path, text):
    create_budget(tmp_path, Terms(1.0, 1e-5))
    (tmp_path / "budget.json").write_text(text)
    with pytest.raises(SottoError, match="budget.json is damaged"):
        spending(tmp_path)


@pytest.mark.parametrize("name", ["a\\u0000b", "\\ud800"])
def test_a_ledger_of_a_name_that_no_file_has_is_a_sentence(tmp_path, name):
    create_budget(tmp_path, Terms(1.0, 1e-5))
    book = json.loads((tmp_path / "budget.json").read_text())
    text = json.dumps({**book, "runs": [{"run": "r", "ledger": "LEDGER", "lines": 1, "head": "ab"}]})
    (tmp_path / "budget.json").write_text(text.replace("LEDGER", name))
    with pytest.raises(SottoError, match="counts run r, which cannot be counted now"):
        spending(tmp_path)
