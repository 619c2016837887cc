"""The epsilon that is printed is the one that was realised, whoever drops out: by theory and by the noise itself.

The first half takes the settings of Dordis (Jiang, Wang, Chen 2024, section 6), where a scheme that shares the noise
among the clients that were expected overspends a budget of 6. The second opens sums of zeros: their variance is
what the ledger says. Streams are seeded, so a statistic outside its interval is a mistake and no bad luck.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.noise.noisy_sum import open_noisy_sum
from bench.noise.three_parties import ThreeParties
from fl_core.cohort import Contributions
from fl_core.config import AggregationConfig, FederationConfig, NoiseConfig, PrivacyConfig, RunConfig
from fl_core.privacy.ledger import Ledger, opening_event, read_ledger, summary
from fl_core.privacy.views import views
from fl_core.privacy_plan import ledger_header, ledger_opening, plan_privacy
from secagg import PlaintextAggregator, RoundSpec
from secagg.randomness import Keystream

# clients, coordinates, clip norm, rounds, delta, and the epsilon of the naive scheme at 40 % drop-out
DORDIS = {
    "femnist": (100, 1_018_174, 1.0, 50, 1e-3, 8.33),
    "cifar10": (16, 11_183_562, 3.0, 150, 1e-2, 8.18),
    "reddit": (20, 15_091_680, 5.0, 50, 5e-3, 8.70),
}
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def survivors_of(clients, fraction):
    return clients - math.floor(clients * fraction + 1e-9)


def dordis_plan(name, dropout, n_min, mechanism="skellam"):
    clients, length, clip_norm, rounds, delta, _ = DORDIS[name]
    config = RunConfig(
        federation=FederationConfig(clients=clients, rounds=rounds, sample_rate=1.0, n_min=n_min),
        privacy=PrivacyConfig(unit="client", mechanism=mechanism, epsilon=6.0, delta=delta, clip_norm=clip_norm),
        noise=NoiseConfig(dropout=dropout),
        aggregation=AggregationConfig(backend="smpc"),
    )
    return config, plan_privacy(config, length, clients)


def reported(tmp_path, config, plan, survivors):
    """The epsilon against the aggregators that a reader of the ledger's file finds after all rounds."""
    path = tmp_path / f"{survivors}.jsonl"
    with Ledger.create(path, ledger_header(config, plan, "run")) as ledger:
        for number in range(config.federation.rounds):
            ledger.append(ledger_opening(plan, number, 0, frozenset(range(survivors))))
    return summary(read_ledger(path)).views.aggregators.epsilon


@pytest.mark.parametrize("name", DORDIS)
def test_shares_for_all_expected_clients_overspend_as_published(name):
    clients, *_, delta, published = DORDIS[name]
    config, plan = dordis_plan(name, "oversize", clients)
    # Such a run would not open a sum with drop-outs: what it would have cost is worked out beside the ledger.
    survivors = survivors_of(clients, 0.4)
    event = opening_event(
        ledger_header(config, plan, "run"), survivors, plan.noise.sum_multiplier(survivors), config.federation.rounds
    )
    assert views([event], delta).aggregators.epsilon == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
@pytest.mark.parametrize("name", DORDIS)
def test_xnoise_realises_six_at_every_drop_out(tmp_path, name, mechanism):
    clients = DORDIS[name][0]
    config, plan = dordis_plan(name, "xnoise", clients // 2, mechanism)
    for fraction in FRACTIONS:
        epsilon = reported(tmp_path, config, plan, survivors_of(clients, fraction))
        assert epsilon <= 6
        assert f"{epsilon:.2f}" == "6.00"


@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
@pytest.mark.parametrize("name", DORDIS)
def test_oversized_shares_never_spend_more_than_six(tmp_path, name, mechanism):
    clients = DORDIS[name][0]
    config, plan = dordis_plan(name, "oversize", clients // 2, mechanism)
    found = [reported(tmp_path, config, plan, survivors_of(clients, fraction)) for fraction in FRACTIONS]
    assert found == sorted(found)
    assert found[-1] <= 6
    assert f"{found[-1]:.2f}" == "6.00"


def within_chance(total, std):
    """Whether the mean square of these draws can be that of a standard deviation of `std` (one in 10^6)."""
    low, high = stats.chi2.interval(1 - 1e-6, len(total))
    return low < float((total.astype(np.float64) ** 2).sum()) / std**2 < high


def opened_zeros(tmp_path, config, plan, survivors, aggregator, length):
    """The opened sum of zero contributions through the real round, and the entry that its ledger has of it."""
    root = Keystream.seeded(survivors)
    f = config.federation
    spec = RoundSpec("run", 1, 0, range(f.clients), length, config.n_min, noise=plan.round_noise())
    present = range(f.clients - survivors, f.clients)
    streams = {client: root.child(client) for client in present}
    parts = [Contributions(tuple(present), np.zeros((survivors, length), dtype=np.int64))]
    path = tmp_path / f"opened-{survivors}.jsonl"
    with Ledger.create(path, ledger_header(config, plan, "run")) as ledger:

        def before_opening(clients):
            ledger.append(ledger_opening(plan, 1, 0, clients))

        opened = open_noisy_sum(spec, parts, plan.noise, aggregator, streams, root.child("server"), before_opening)
    (told,) = read_ledger(path).openings
    return opened.total, told


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
@pytest.mark.parametrize(
    ("by", "dropout", "parties"),
    [
        ("clients", "oversize", 1),
        ("clients", "xnoise", 1),
        ("clients", "xnoise", 3),
        ("aggregators", "oversize", 3),
        ("both", "oversize", 3),
        ("both", "xnoise", 3),
    ],
)
def test_the_variance_of_an_opened_sum_is_what_the_ledger_says(tmp_path, by, dropout, parties, mechanism, fraction):
    config = RunConfig(
        federation=FederationConfig(clients=10, rounds=5, sample_rate=1.0, n_min=5, colluders=1),
        privacy=PrivacyConfig(unit="client", mechanism=mechanism, noise_multiplier=1.5, clip_norm=0.7),
        noise=NoiseConfig(by=by, dropout=dropout),
        aggregation=AggregationConfig(backend="smpc" if parties > 1 else "plaintext"),
    )
    plan = plan_privacy(config, 20_000, 10)
    aggregator = ThreeParties() if parties > 1 else PlaintextAggregator()
    total, told = opened_zeros(tmp_path, config, plan, survivors_of(10, fraction), aggregator, 20_000)
    assert within_chance(total, told.noise_multiplier * plan.noise.clip_steps)
    assert not within_chance(total, 1.05 * told.noise_multiplier * plan.noise.clip_steps), "one share shows"


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam", "gaussian"])
@pytest.mark.parametrize(
    ("unit", "trust", "by", "dropout", "parties"),
    [
        ("example", "distributed", "clients", "oversize", 1),
        ("client", "distributed", "clients", "oversize", 1),
        ("client", "distributed", "both", "oversize", 3),
        ("client", "distributed", "clients", "xnoise", 3),
        ("example", "local", "clients", "oversize", 1),
        ("example", "central", "clients", "oversize", 1),
    ],
)
def test_with_adaptive_clipping_the_variance_is_that_of_the_joint_bound(
    tmp_path, unit, trust, by, dropout, parties, mechanism
):
    if dropout == "xnoise" and mechanism == "gaussian":
        pytest.skip("xnoise takes whole numbers away")
    privacy = PrivacyConfig(unit, trust, mechanism, noise_multiplier=1.5, clip_norm=0.7, clipping="adaptive")
    config = RunConfig(
        federation=FederationConfig(clients=10, rounds=5, sample_rate=1.0, n_min=5, colluders=1),
        privacy=privacy,
        noise=NoiseConfig(by=by, dropout=dropout),
        aggregation=AggregationConfig(backend="smpc" if parties > 1 else "plaintext"),
    )
    plan = plan_privacy(config, 20_000, 10)
    assert plan.length == 20_001
    aggregator = ThreeParties() if parties > 1 else PlaintextAggregator()
    total, told = opened_zeros(tmp_path, config, plan, 7, aggregator, plan.length)
    steps = math.floor(0.7 * 2**20)
    joint = math.ceil(math.hypot(steps, round(steps / 10)))
    header = ledger_header(config, plan, "run")
    assert (header.scale, header.dimension) == (joint, 20_001)
    assert within_chance(total, told.noise_multiplier * joint)
    # The coordinate about norms has no less noise than any other.
    alone = [opened_last(config, plan, seed) for seed in range(2000)] if parties == 1 else []
    assert not alone or within_chance(np.array(alone), told.noise_multiplier * joint)
    if trust == "central":
        assert told.noise_multiplier == pytest.approx(1.5, rel=1e-5)


def opened_last(config, plan, seed):
    """The last coordinate of an opened sum of seven zero contributions of two numbers and their coordinate."""
    root = Keystream.seeded(seed)
    spec = RoundSpec("run", 1, 0, range(7), 3, 5, noise=plan.round_noise())
    streams = {client: root.child(client) for client in range(7)}
    parts = [Contributions(tuple(range(7)), np.zeros((7, 3), dtype=np.int64))]
    opened = open_noisy_sum(
        spec, parts, plan.noise, PlaintextAggregator(), streams, root.child("server"), lambda clients: None
    )
    return opened.total[-1]


@pytest.mark.parametrize("fraction", [0.0, 0.4])
@pytest.mark.parametrize(("name", "length"), [("femnist", 500), ("cifar10", 10_000), ("reddit", 8000)])
def test_xnoise_at_the_published_settings_is_in_the_sum_and_not_only_in_the_ledger(tmp_path, name, length, fraction):
    config, plan = dordis_plan(name, "xnoise", DORDIS[name][0] // 2, "discrete_gaussian")
    survivors = survivors_of(DORDIS[name][0], fraction)
    total, told = opened_zeros(tmp_path, config, plan, survivors, PlaintextAggregator(), length)
    assert within_chance(total, told.noise_multiplier * plan.noise.clip_steps)
