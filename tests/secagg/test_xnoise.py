"""XNoise: the sum has the noise that was asked for at every drop-out, to the last bit of what is removed."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secagg.errors import EncodingError
from secagg.noise_draws import MIN_SIGMA, draw_noise
from secagg.randomness import KEY_BYTES, Keystream
from secagg.xnoise import MAX_VECTORS, component_stds, draw_components, surplus

MECHANISMS = ["discrete_gaussian", "skellam"]


def remaining_std(stds, clients, dropped):
    """Of the noise in the sum of the survivors, after the removal: each keeps its components 0 .. d."""
    return math.sqrt((clients - dropped) * math.fsum(std**2 for std in stds[: dropped + 1]))


@given(clients=st.integers(1, 150), std=st.floats(1e-3, 1e12), data=st.data())
def test_the_components_telescope_to_the_same_sum_at_every_drop_out(clients, std, data):
    dropouts = data.draw(st.integers(0, min(clients - 1, MAX_VECTORS // clients)))
    stds = component_stds(std, clients, dropouts, whole=False)
    assert len(stds) == dropouts + 1
    for dropped in range(dropouts + 1):
        assert remaining_std(stds, clients, dropped) == pytest.approx(std, rel=1e-12)


@given(clients=st.integers(1, 100), steps=st.floats(MIN_SIGMA, 1e4), data=st.data())
def test_whole_components_leave_at_least_what_was_asked_for_and_little_more(clients, steps, data):
    dropouts = data.draw(st.integers(0, min(clients - 1, MAX_VECTORS // clients)))
    std = steps * clients  # no component is below std / clients
    stds = component_stds(std, clients, dropouts, whole=True)
    assert all(component == int(component) >= MIN_SIGMA for component in stds)
    for dropped in range(dropouts + 1):
        left = remaining_std(stds, clients, dropped)
        assert std * (1 - 1e-12) <= left <= std * (1 + 1 / steps)


@pytest.mark.parametrize(
    ("std", "clients", "dropouts", "says"),
    [
        (1e6, 10, 10, "allowed: 0 to 9"),
        (1e6, 10, -1, "allowed: 0 to 9"),
        (
            1e9,
            1000,
            17,
            "would draw 17000 noise vectors again in one round; allowed: up to 16384, raise federation.n_min",
        ),
        (20.0, 10, 5, "an XNoise component .of 10 clients. of 2.11 grid steps.* raise privacy.scale_bits"),
        (1e12, 10, 5, "lower privacy.scale_bits"),
    ],
)
def test_components_that_cannot_be_are_refused(std, clients, dropouts, says):
    with pytest.raises(EncodingError, match=says):
        component_stds(std, clients, dropouts, whole=True)


@settings(max_examples=40, deadline=None)
@given(
    mechanism=st.sampled_from(MECHANISMS),
    stds=st.lists(st.integers(4, 2**30), min_size=1, max_size=6),
    key=st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    data=st.data(),
)
def test_what_is_left_after_the_removal_is_the_kept_components_to_the_last_bit(mechanism, stds, key, data):
    total, seeds = draw_components(mechanism, stds, 30, Keystream.from_key(key))
    assert len(seeds) == len(set(seeds)) == len(stds) - 1
    dropped = data.draw(st.integers(0, len(stds) - 1))
    left = total - surplus(mechanism, stds, dropped, seeds[dropped:], 30)
    kept = draw_noise(mechanism, stds[0], 30, Keystream.from_key(key))
    for std, seed in zip(stds[1 : dropped + 1], seeds[:dropped], strict=True):
        kept = kept + draw_noise(mechanism, std, 30, Keystream.from_key(seed))
    np.testing.assert_array_equal(left, kept)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_two_clients_and_two_rounds_share_no_seed(mechanism):
    root = Keystream.system()
    streams = [root.child("round", r, "client", c) for r, c in itertools.product(range(3), range(4))]
    seeds = [seed for stream in streams for seed in draw_components(mechanism, (9, 9, 9), 4, stream)[1]]
    assert len(set(seeds)) == len(seeds) == 24


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_the_sum_of_the_survivors_has_the_variance_that_was_asked_for(mechanism, dropped):
    clients, length, std = 6, 20_000, 6000.0
    stds = component_stds(std, clients, 3, whole=True)
    total = np.zeros(length, dtype=np.int64)
    for client in range(clients - dropped):
        noise, seeds = draw_components(mechanism, stds, length, Keystream.seeded(client))
        total += noise - surplus(mechanism, stds, dropped, seeds[dropped:], length)
    left = remaining_std(stds, clients, dropped)
    low, high = stats.chi2.interval(1 - 1e-6, length)
    assert low < float((total.astype(np.float64) ** 2).sum()) / left**2 < high
    assert left == pytest.approx(std, rel=1e-3)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mathematical_library_that_rounds_otherwise_draws_the_same(mechanism, monkeypatch):
    stds = (4.0, 37.0, 5000.0, 2.0**30)
    seeds = tuple(bytes([k]) * KEY_BYTES for k in range(3))
    expected = surplus(mechanism, stds, 0, seeds, 20_000)
    signs = itertools.cycle((4, -4, 0, 3))

    def other_library(true):
        return lambda x: true(x) * (1 + next(signs) * 2.0**-52)

    with monkeypatch.context() as patch:
        for function in (np.exp, np.arcsinh):
            patch.setattr(np, function.__name__, other_library(function))
        found = surplus(mechanism, stds, 0, seeds, 20_000)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("mechanism", "digest"), [("discrete_gaussian", "c8ce43f1a7dfe38e"), ("skellam", "c52c14923fa2bff3")]
)
def test_draws_are_those_of_every_other_version_that_can_take_part_in_a_round(mechanism, digest):
    drawn = surplus(mechanism, (4.0, 5.0, 700.0, 2.0**30), 0, [bytes([k]) * KEY_BYTES for k in range(3)], 1000)
    assert hashlib.sha256(drawn.astype("<i8").tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_other_mechanisms_are_refused_on_both_sides(mechanism):
    with pytest.raises(EncodingError, match="draws differ between machines"):
        draw_components(mechanism, (9.0, 9.0), 4, Keystream.seeded(0))
    with pytest.raises(EncodingError, match="draws differ between machines"):
        surplus(mechanism, (9.0, 9.0), 0, [bytes(KEY_BYTES)], 4)


@pytest.mark.parametrize(("std", "says"), [(9.5, "whole numbers"), (3.0, "4 to 2.30"), (2.0**31, "4 to 2.30")])
def test_steps_that_no_client_can_have_drawn_are_refused(std, says):
    with pytest.raises(EncodingError, match=says):
        surplus("skellam", (9.0, std), 0, [bytes(KEY_BYTES)], 4)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_only_the_surplus_seeds_are_taken(count):
    with pytest.raises(EncodingError, match=f"{count} seeds.*after 1 drop-outs it takes 2"):
        surplus("skellam", (9.0, 9.0, 9.0, 9.0), 1, [bytes(KEY_BYTES)] * count, 4)


def test_nothing_is_removed_when_all_tolerated_drop_outs_happened():
    assert not surplus("skellam", (9.0, 9.0), 1, [], 4).any()
