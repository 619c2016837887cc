"""One sentence of an error that another library raised."""

from __future__ import annotations

import pytest

from fl_core.first_line import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n no such file\nat line 3"), "no such file"),
        (ValueError(" \n"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_only_the_first_line_that_says_something_is_told_else_the_errors_kind(error, said):
    assert first_line(error) == said
