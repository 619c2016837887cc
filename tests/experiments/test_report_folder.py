"""Where reports may be written."""

from __future__ import annotations

import pytest

from experiments.report_folder import refuse_other_folder
from fl_core.storage import StorageError


def test_new_folders_those_of_reports_and_those_of_runs_are_taken(tmp_path):
    refuse_other_folder(tmp_path)
    refuse_other_folder(tmp_path / "new")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / ".lock").write_text("")
    refuse_other_folder(tmp_path / "runs")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "table.md").write_text("")
    (tmp_path / "report" / "README.md").write_text("")
    refuse_other_folder(tmp_path / "report")


@pytest.mark.parametrize("name", ["config.yaml", "notes.txt", "train.jsonl"])
def test_a_runs_own_folder_and_files_of_another_kind_are_refused(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(StorageError, match=f"holds {name} and is no report's folder"):
        refuse_other_folder(tmp_path)
