"""`sotto` in this process: what it printed and how it ended."""

from __future__ import annotations

import sys

import pytest

from experiments import cli


@pytest.fixture
def sotto(monkeypatch, capsys):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sotto", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


@pytest.fixture
def mistake(sotto):
    """The one sentence of a user's mistake."""

    def run(*arguments):
        code, out, err = sotto(*arguments)
        assert code == 2
        assert not out
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").strip()

    return run
