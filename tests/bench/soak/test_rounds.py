"""Files that go on to grow are told from drafts and from what a run's end writes."""

from __future__ import annotations

import pytest

from bench.soak.rounds import goes_on


@pytest.mark.parametrize(
    ("counts", "grows"),
    [
        ([6] * 20, False),
        ([*[6] * 19, 9], False),  # what the end of a run writes, or a draft that was just being written
        ([4, 5, 6, 7, 7, 6, 6, 6], False),
        (list(range(20)), True),
        ([*[6] * 12, *[7] * 8], True),
        ([6], False),
    ],
)
def test_files_go_on_to_grow_if_there_are_more_late_than_ever_early(counts, grows):
    assert goes_on(counts) is grows
