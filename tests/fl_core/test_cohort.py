"""Clients computed together give what each would compute alone, and secret sampling is Poisson."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from fl_core.adapters import flat_adapter
from fl_core.adaptive_clipping import RoundClip
from fl_core.cohort import Diagnostics, cohort_contributions, refuse_mixed_records
from fl_core.cohort_size import cohorts
from fl_core.sampling import poisson_coin, poisson_sample
from secagg.errors import SottoError
from secagg.randomness import Keystream
from tests.fl_core.tiny import tiny_config, tiny_task

SCALE = 2**20


def totals(config, clients, task=None):
    task = task or tiny_task(config)
    root = Keystream.seeded(0)
    streams = [root.child(client) for client in clients]
    seen = Diagnostics()
    theta, clip = flat_adapter(task.model), RoundClip(config.privacy.clip_norm, SCALE)
    found = {}
    for part in cohorts(task, clients, config):
        given = cohort_contributions(task, theta, clients[part], streams[part], config, clip, seen)
        found.update(zip(given.clients, given.totals, strict=True))
    return found, seen


@pytest.mark.parametrize("unit", ["example", "client"])
@pytest.mark.parametrize("batch_size", [3, 1000])
def test_clients_together_equal_each_client_alone(unit, batch_size):
    config = tiny_config(f"privacy.unit={unit}", f"engine.batch_size={batch_size}", "federation.sample_rate=0.7")
    together, _ = totals(config, list(range(8)))
    assert sorted(together) == list(range(8))
    assert any(vector.any() for vector in together.values())
    for client in range(8):
        alone, _ = totals(config, [client])
        # Batches of other sizes may round a coordinate to the neighbouring step, once per record.
        assert np.abs(alone[client] - together[client]).max() <= 10


@pytest.mark.parametrize("unit", ["example", "client"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_size_of_cohorts_changes_nothing(unit, size):
    config = tiny_config(f"privacy.unit={unit}")
    whole, seen = totals(config, list(range(8)))
    parts, seen_in_parts = totals(tiny_config(f"privacy.unit={unit}", f"engine.cohort_size={size}"), list(range(8)))
    for client in range(8):
        assert np.abs(whole[client] - parts[client]).max() <= 10
    assert (seen.samples, seen.clipped, seen.nonfinite) == (
        seen_in_parts.samples,
        seen_in_parts.clipped,
        seen_in_parts.nonfinite,
    )


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_client_without_records_sends_zeros(unit):
    config = tiny_config(f"privacy.unit={unit}", "federation.clients=81", "federation.sample_rate=1")
    found, _ = totals(config, [80, 79])
    assert not found[80].any()
    assert found[79].any()


def test_a_clients_update_has_an_integer_norm_of_at_most_the_bound():
    config = tiny_config("privacy.unit=client", "federation.sample_rate=1", "client.learning_rate=50")
    found, seen = totals(config, list(range(8)))
    assert seen.clipped == 8
    for vector in found.values():
        norm = sum(int(v) ** 2 for v in vector)
        assert (0.99 * SCALE) ** 2 < norm <= SCALE**2


def test_local_training_leaves_the_broadcast_adapter_in_place():
    config = tiny_config("privacy.unit=client", "federation.sample_rate=1")
    task = tiny_task(config)
    before = flat_adapter(task.model)
    totals(config, list(range(8)), task)
    assert torch.equal(flat_adapter(task.model), before)


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.97])
def test_poisson_samples_are_binomial_in_size_and_independent_of_position(rate):
    records = np.arange(40, dtype=np.int64)
    root = Keystream.seeded(1)
    draws = [poisson_sample(records, rate, root.child(i)) for i in range(4000)]
    sizes = np.bincount([len(draw) for draw in draws], minlength=41)
    expected = stats.binom.pmf(np.arange(41), 40, rate) * 4000
    keep = expected >= 5
    p = stats.chisquare(np.append(sizes[keep], sizes[~keep].sum()), np.append(expected[keep], expected[~keep].sum()))
    assert p.pvalue > 1e-3
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert abs(counts - 4000 * rate).max() < 5 * np.sqrt(4000 * rate * (1 - rate))


def test_rate_one_takes_everyone_and_coins_are_fair():
    records = np.arange(5, dtype=np.int64)
    assert np.array_equal(poisson_sample(records, 1.0, Keystream.seeded(0)), records)
    assert poisson_coin(1.0, Keystream.seeded(0))
    heads = sum(poisson_coin(0.3, Keystream.seeded(i)) for i in range(3000))
    assert abs(heads - 900) < 5 * np.sqrt(3000 * 0.21)


@pytest.mark.parametrize("unit", ["example", "client"])
@pytest.mark.parametrize("rate", [0.5, 1e-9])
@pytest.mark.parametrize("bit", [0, 100])
def test_a_sum_alone_has_the_bits_of_its_clients_added_up(unit, rate, bit):
    config = tiny_config(f"privacy.unit={unit}", f"federation.sample_rate={rate}")
    clip, task = RoundClip(config.privacy.clip_norm, SCALE, bit), tiny_task(config)
    found = []
    for summed in (False, True):
        streams, seen = [Keystream.seeded(0).child(client) for client in range(8)], Diagnostics()
        part = cohort_contributions(task, flat_adapter(task.model), range(8), streams, config, clip, seen, summed)
        found.append((part, seen))
    (apart, counted), (together, counted_together) = found
    assert apart.totals.shape == (8, together.totals.shape[1])
    assert together.totals.shape[0] == 1
    assert together.clients == apart.clients
    assert np.array_equal(apart.totals.sum(0), together.totals[0])
    assert apart.totals.any() == (rate > 0.1)
    assert counted.row() == pytest.approx(counted_together.row())


def test_the_loss_that_is_told_is_the_mean_of_finite_ones_and_none_where_clients_train_by_themselves():
    config = tiny_config("federation.sample_rate=1")
    task = tiny_task(config, poison=3)
    _, seen = totals(config, list(range(8)), task)
    inputs = task.batch(np.delete(np.arange(80), 3))
    with torch.no_grad():
        expected = float(task.loss(task.model(inputs[0]), inputs).mean())
    assert (seen.samples, seen.nonfinite) == (80, 1)
    assert seen.row()["loss"] == pytest.approx(expected, rel=1e-5)
    config = tiny_config("privacy.unit=client", "federation.sample_rate=1")
    _, seen = totals(config, list(range(8)))
    assert sorted(seen.row()) == ["clipped", "nonfinite", "samples"]


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_task_that_mixes_records_is_refused_by_itself_and_wherever_nobody_looked(unit):
    config = tiny_config(f"privacy.unit={unit}", "federation.sample_rate=1")
    honest = tiny_task(config)
    refuse_mixed_records(honest, flat_adapter(honest.model), range(8), config)
    task = dataclasses.replace(honest, loss=lambda output, _: (output - output.mean(0)).square().sum(1))
    theta, clip = flat_adapter(task.model), RoundClip(1.0, SCALE)

    def compute(**more):
        streams = [Keystream.seeded(client) for client in range(2)]
        return cohort_contributions(task, theta, [0, 1], streams, config, clip, Diagnostics(), **more)

    with pytest.raises(SottoError, match="mixes samples"):
        refuse_mixed_records(task, theta, range(2), config)
    with pytest.raises(SottoError, match="mixes samples"):
        compute()
    assert compute(checked=True).clients == (0, 1)
