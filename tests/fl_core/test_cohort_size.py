"""Cohorts are slices that follow from configuration and shapes alone, within the memory that was given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_core.adapters import flat_adapter
from fl_core.adaptive_clipping import RoundClip
from fl_core.cohort import Diagnostics, cohort_contributions
from fl_core.cohort_size import cohorts, samples_together
from secagg.randomness import Keystream
from tests.fl_core.tiny import tiny_config, tiny_task

LENGTH = 16  # of the tiny task's adapter


@settings(max_examples=30, deadline=None)
@given(clients=st.integers(0, 50), size=st.integers(1, 60))
def test_slices_follow_each_other_and_hold_everyone(clients, size):
    config = tiny_config(f"engine.cohort_size={size}")
    parts = cohorts(TASK, range(clients), config)
    assert [client for part in parts for client in range(clients)[part]] == list(range(clients))
    assert all(part.stop - part.start == size for part in parts[:-1])


TASK = tiny_task(tiny_config())


@pytest.mark.parametrize(
    ("unit", "rate", "bytes_of_coordinate"), [("example", 0.5, 8), ("client", 1.0, 20), ("client", 0.5, 14)]
)
def test_vectors_take_a_quarter_of_the_memory(unit, rate, bytes_of_coordinate):
    task = tiny_task(tiny_config())
    assert len(flat_adapter(task.model)) == LENGTH
    room = 4 * 3 * LENGTH * bytes_of_coordinate / 2**30
    common = (f"privacy.unit={unit}", f"federation.sample_rate={rate}")
    for gib, size in ((room, 3), (room * 0.99, 2), (room / 100, 1)):
        parts = cohorts(task, range(7), tiny_config(*common, f"engine.cohort_gib={gib!r}"))
        assert parts[0] == slice(0, size)


def test_samples_are_bounded_by_batch_size_and_memory():
    assert samples_together(tiny_config(), 1000) == 1024
    assert samples_together(tiny_config("engine.batch_size=7"), 1000) == 7
    assert samples_together(tiny_config("engine.cohort_gib=0.5"), 2**20) == 384
    assert samples_together(tiny_config("engine.cohort_gib=0.001"), 2**30) == 1
    assert samples_together(tiny_config(), 0) == 1024


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_cohort_by_itself_has_the_same_bits_as_in_its_round(unit):
    config = tiny_config(f"privacy.unit={unit}", "engine.cohort_size=3")
    task = tiny_task(config)
    theta, clip = flat_adapter(task.model), RoundClip(1.0, 2**20)
    clients = [0, 1, 2, 4, 5, 6, 7]  # one is not there

    def streams():
        return [Keystream.seeded(5).child(client) for client in clients]

    def given(task, part):
        return cohort_contributions(task, theta, clients[part], streams()[part], config, clip, Diagnostics())

    parts = cohorts(task, clients, config)
    assert len(parts) == 3
    whole = [given(task, part) for part in parts]
    other = tiny_task(config)  # as another process has it
    for part, want in reversed(list(zip(parts, whole, strict=True))):
        got = given(other, part)
        assert got.clients == want.clients
        assert np.array_equal(got.totals, want.totals)
    assert any(want.totals.any() for want in whole)


def test_a_client_that_is_not_finite_sends_zeros_and_is_counted_while_others_send_what_they_did():
    config = tiny_config("privacy.unit=client", "federation.sample_rate=1", "client.steps=30")
    clean, dirty = tiny_task(config), tiny_task(config, poison=15)  # of client 1
    found = []
    for task in (clean, dirty):
        seen = Diagnostics()
        streams = [Keystream.seeded(5).child(client) for client in range(8)]
        part = cohort_contributions(
            task, flat_adapter(clean.model), range(8), streams, config, RoundClip(1.0, 2**20, 100), seen
        )
        found.append((part.totals, seen))
    (want, none), (got, one) = found
    assert (none.nonfinite, one.nonfinite, one.samples) == (0, 1, 8)
    assert want[1].any()
    assert not got[1].any()
    others = [0, 2, 3, 4, 5, 6, 7]
    assert np.array_equal(got[others], want[others])
    assert got[others].any(1).all()
