"""A child's last line is its result; one that fails or hangs says why in a few words."""

from __future__ import annotations

import sys

import pytest

from bench.child import ChildFailed, last_error, result_of


def test_the_last_line_is_the_result():
    assert result_of([sys.executable, "-c", "print('noise'); print('{\"a\": 1}')"], 60) == {"a": 1}


@pytest.mark.parametrize(
    ("code", "timeout_s", "why"),
    [
        ("raise ValueError('no such thing')", 60, "ValueError: no such thing"),
        ("raise SystemExit(3)", 60, "exit code 3"),
        ("import time; time.sleep(60)", 0.2, "more than 0 s"),
    ],
)
def test_what_gives_no_result_is_told_in_a_few_words(code, timeout_s, why):
    with pytest.raises(ChildFailed) as failed:
        result_of([sys.executable, "-c", code], timeout_s)
    assert str(failed.value) == why


def test_an_interpreter_that_is_not_there_is_told():
    with pytest.raises(ChildFailed, match="/no/python cannot be started: No such file or directory"):
        result_of(["/no/python", "-c", ""])


def test_the_last_line_that_names_an_error_is_told_whatever_comes_after():
    assert last_error("Traceback\nValueError: no such thing\nretrying\n") == "ValueError: no such thing"
    assert last_error("killed\n") == "killed"
    assert last_error("") == ""
