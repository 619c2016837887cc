"""Another package that takes one of Sotto's names is refused."""

from __future__ import annotations

import pytest

from fl_core.environment import EnvironmentProblem, check_environment


def test_another_package_called_kernels_is_refused_with_what_to_do(monkeypatch):
    check_environment()
    monkeypatch.setattr("fl_core.environment.metadata.version", lambda name: "0.12.1")
    with pytest.raises(EnvironmentProblem, match=r"'kernels' 0.12.1 .*pip uninstall kernels"):
        check_environment()
