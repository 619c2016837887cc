"""The opened sum of zeros has exactly the noise that the ledger claims: every mechanism, trust, backend, drop-out.

The streams are seeded, so these are fixed draws: relative error of a variance over 10^6 coordinates has standard
deviation sqrt(2 / 10^6) = 0.14 %; a missing share, a wrong clip norm or a factor sqrt(n / (n - 1)) is far outside.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.noise.noisy_sum import open_noisy_sum
from fl_core.cohort import Contributions
from fl_core.rounds import cohort_messages, joint_message, open_joint_sum
from secagg import PlaintextAggregator, RoundSpec, SmpcAggregator
from secagg.errors import AggregationError
from secagg.messages import RoundNoise
from secagg.noise_shares import plan_noise
from secagg.openings import OpeningRefused
from secagg.randomness import Keystream

ATTEMPTS = itertools.count()
CLIENTS, N_MIN, COLLUDERS, CLIP_STEPS, Z = 6, 4, 1, 2**14, 1.7


@pytest.fixture(scope="module")
def smpc():
    with SmpcAggregator(3, timeout_s=60) as aggregator:
        yield aggregator


def zeros(clients, length):
    yield Contributions(tuple(clients), np.zeros((len(clients), length), dtype=np.int64))


def open_zeros(aggregator, mechanism, trust, survivors, length=1_000_000, seed=0, joint=False):
    """The opened sum of zero contributions of `survivors` of six clients, and what the ledger is told."""
    plan = plan_noise(mechanism, trust, Z, CLIP_STEPS, N_MIN - COLLUDERS)
    root = Keystream.seeded(seed)
    spec = RoundSpec("run", 1, next(ATTEMPTS), range(CLIENTS), length, N_MIN)
    told = []
    rest = (root.child("server"), lambda clients: told.append((len(clients), plan.sum_multiplier(len(clients)))))
    if joint:
        opened = open_joint_sum(spec, zeros(range(survivors), length), plan, aggregator, root.child("sim"), *rest)
    else:
        streams = {client: root.child("client", client) for client in range(survivors)}
        opened = open_noisy_sum(spec, zeros(range(survivors), length), plan, aggregator, streams, *rest)
    return opened, told


@pytest.mark.parametrize("survivors", [CLIENTS, N_MIN])
@pytest.mark.parametrize("backend", ["plaintext", "smpc"])
@pytest.mark.parametrize("trust", ["central", "local", "distributed"])
@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian"])
def test_the_variance_of_a_million_zeros_is_what_the_ledger_says(smpc, mechanism, trust, backend, survivors):
    aggregator = smpc if backend == "smpc" else PlaintextAggregator()
    opened, told = open_zeros(aggregator, mechanism, trust, survivors)
    assert told == [(survivors, told[0][1])]
    claimed = told[0][1] * CLIP_STEPS
    assert abs(float(opened.total.astype(np.float64).var()) / claimed**2 - 1) < 0.005
    assert abs(float(opened.total.mean())) < 5 * claimed / 1000


@pytest.mark.parametrize("survivors", [CLIENTS, N_MIN])
@pytest.mark.parametrize("trust", ["local", "distributed"])
@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian"])
def test_the_joint_draw_of_a_simulation_has_the_same_variance(mechanism, trust, survivors):
    opened, told = open_zeros(PlaintextAggregator(), mechanism, trust, survivors, joint=True)
    assert abs(float(opened.total.var()) / (told[0][1] * CLIP_STEPS) ** 2 - 1) < 0.005
    assert len(opened.clients) == survivors


def test_distributed_noise_meets_the_multiplier_even_without_the_colluders_shares():
    _, told = open_zeros(PlaintextAggregator(), "discrete_gaussian", "distributed", N_MIN, length=10)
    honest = told[0][1] * math.sqrt((N_MIN - COLLUDERS) / N_MIN)
    assert Z <= honest < Z * 1.001


def test_no_trust_model_opens_the_exact_sum():
    opened, told = open_zeros(PlaintextAggregator(), "gaussian", "none", CLIENTS, length=100)
    assert not opened.total.any()
    assert told == [(CLIENTS, 0.0)]


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete_gaussian"])
@pytest.mark.parametrize("trust", ["none", "central", "local", "distributed"])
def test_plaintext_and_smpc_open_bit_identical_sums_with_equal_seeds(smpc, mechanism, trust):
    one, _ = open_zeros(PlaintextAggregator(), mechanism, trust, CLIENTS, length=1000, seed=5)
    two, _ = open_zeros(smpc, mechanism, trust, CLIENTS, length=1000, seed=5)
    assert one.total.tobytes() == two.total.tobytes()


def test_every_clients_own_message_carries_its_share_and_no_two_are_alike():
    messages = []

    class Spy(PlaintextAggregator):
        def submit(self, message):
            messages.append(message.shares.body.copy())
            super().submit(message)

    open_zeros(Spy(), "discrete_gaussian", "distributed", CLIENTS, length=200_000)
    share = math.ceil(Z * CLIP_STEPS / math.sqrt(N_MIN - COLLUDERS))
    for vector in messages:
        assert abs(vector.std() / share - 1) < 0.01
    correlations = np.corrcoef(np.array(messages, dtype=np.float64)) - np.eye(CLIENTS)
    assert np.abs(correlations).max() < 0.012


def test_if_the_ledger_refuses_nothing_is_opened():
    class Spy(PlaintextAggregator):
        aborted = 0

        def abort(self):
            self.aborted += 1
            super().abort()

    plan = plan_noise("discrete_gaussian", "distributed", Z, CLIP_STEPS, 3)
    spy = Spy()

    def full(_):
        raise OSError("disk full")

    spec = RoundSpec("run", 1, 0, range(CLIENTS), 10, N_MIN)
    root = Keystream.seeded(0)
    streams = {client: root.child(client) for client in range(CLIENTS)}
    with pytest.raises(OSError, match="disk full"):
        open_noisy_sum(spec, zeros(range(CLIENTS), 10), plan, spy, streams, root, full)
    assert spy.aborted


def open_zeros_after(dropped, scheme, mechanism, aggregator=None, by="clients", length=50_000, bits=64, clients=10):
    """As `open_zeros` for ten clients of which up to half may vanish, with the noise plan's newer kinds."""
    n_min = clients // 2
    parties = 1 if aggregator is None else aggregator.parties
    sizes = {"by": by, "aggregators": parties, "dropout": scheme, "clients": clients, "n_min": n_min}
    plan = plan_noise(mechanism, "distributed", Z, CLIP_STEPS, n_min - COLLUDERS, **sizes)
    noise = RoundNoise()
    if plan.components or plan.aggregator_std:
        noise = RoundNoise(mechanism, plan.aggregator_std, plan.components)
    spec = RoundSpec("run", 2, next(ATTEMPTS), range(clients), length, n_min, bits=bits, noise=noise)
    root = Keystream.seeded(dropped)
    streams = {client: root.child("client", client) for client in range(clients)}
    told = []
    opened = open_noisy_sum(
        spec,
        zeros(range(dropped, clients), length),
        plan,
        aggregator or PlaintextAggregator(),
        streams,
        root,
        lambda survivors: told.append(plan.sum_multiplier(len(survivors))),
    )
    return opened, told[0]


@pytest.mark.parametrize("dropped", range(6))
@pytest.mark.parametrize("scheme", ["oversize", "xnoise"])
@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
def test_the_variance_is_what_the_ledger_says_at_0_to_50_percent_drop_outs(mechanism, scheme, dropped):
    opened, claimed = open_zeros_after(dropped, scheme, mechanism)
    assert len(opened.clients) == 10 - dropped
    # 50,000 coordinates: relative standard deviation 0.6 %.
    assert abs(float(opened.total.astype(np.float64).var()) / (claimed * CLIP_STEPS) ** 2 - 1) < 0.025
    honest = Z * math.sqrt(5 / 4)  # what the sum has if 4 of 5 honest survivors are to reach Z
    if scheme == "xnoise":
        assert honest <= claimed < honest * 1.001
    else:
        assert claimed == pytest.approx(Z * math.sqrt((10 - dropped) / 4), rel=1e-3)


def test_every_client_sends_seeds_of_its_removable_components_that_nobody_else_has():
    seeds = []

    class Spy(PlaintextAggregator):
        def submit(self, message):
            seeds.append(message.noise_seeds)
            super().submit(message)

    open_zeros_after(0, "xnoise", "discrete_gaussian", Spy(), length=10)
    assert [len(own) for own in seeds] == [5] * 10
    assert len({seed for own in seeds for seed in own}) == 50
    open_zeros_after(0, "oversize", "discrete_gaussian", Spy(), length=10)
    assert seeds[10:] == [()] * 10


@pytest.mark.parametrize("scheme", ["oversize", "xnoise"])
def test_a_narrow_ring_opens_the_same_integers_as_the_widest(scheme):
    wide, _ = open_zeros_after(1, scheme, "discrete_gaussian", length=1000)
    narrow, _ = open_zeros_after(1, scheme, "discrete_gaussian", length=1000, bits=20)
    assert wide.total.tobytes() == narrow.total.tobytes()
    assert np.abs(wide.total).max() > 2**15


@pytest.mark.parametrize("scheme", ["oversize", "xnoise"])
def test_under_smpc_clients_noise_opens_bit_identically(smpc, scheme):
    one, _ = open_zeros_after(2, scheme, "discrete_gaussian", length=1000, bits=24)
    two, _ = open_zeros_after(2, scheme, "discrete_gaussian", smpc, length=1000, bits=24)
    assert one.total.tobytes() == two.total.tobytes()


@pytest.mark.parametrize("dropped", [0, 5])
@pytest.mark.parametrize(("by", "scheme"), [("aggregators", "oversize"), ("both", "oversize"), ("both", "xnoise")])
def test_the_aggregators_own_noise_is_in_the_sum_as_the_ledger_says(smpc, by, scheme, dropped):
    opened, claimed = open_zeros_after(dropped, scheme, "discrete_gaussian", smpc, by)
    assert abs(float(opened.total.astype(np.float64).var()) / (claimed * CLIP_STEPS) ** 2 - 1) < 0.025
    assert claimed >= Z * math.sqrt(3)
    assert by == "both" or claimed == pytest.approx(Z * math.sqrt(3), rel=1e-3)


def test_a_round_that_is_refused_before_it_begins_is_no_matter_of_its_clients():
    class Refusing(PlaintextAggregator):
        def open_round(self, spec):
            raise OpeningRefused("n_min is below this party's")

    with pytest.raises(AggregationError, match="round 2 was refused before it began: n_min is below") as caught:
        open_zeros_after(0, "oversize", "gaussian", Refusing(), length=10)
    assert not isinstance(caught.value, OpeningRefused)


@pytest.mark.parametrize("trust", ["none", "central", "local", "distributed"])
@pytest.mark.parametrize("bits", [24, 64])
def test_a_cohorts_joint_message_is_the_sum_of_its_clients_messages(trust, bits):
    plan = plan_noise("discrete_gaussian", trust, Z, CLIP_STEPS, N_MIN - COLLUDERS)
    spec = RoundSpec("run", 1, 0, range(CLIENTS), 50, N_MIN, bits=bits)
    totals = np.random.default_rng(0).integers(-CLIP_STEPS, CLIP_STEPS, (CLIENTS, 50))
    clients, streams = tuple(range(CLIENTS)), [Keystream.seeded(0).child(client) for client in range(CLIENTS)]
    joint = joint_message(spec, Contributions(clients, totals.sum(0)[None]), plan, streams)
    assert joint.clients == clients
    apart = list(cohort_messages(spec, Contributions(clients, totals.copy()), plan, 1, streams))
    assert [message.clients for message in apart] == [(client,) for client in clients]
    difference = sum(message.shares.body for message in apart) - joint.shares.body
    assert not (difference.astype(np.uint64) % np.uint64(2**bits if bits < 64 else 2**63)).any()
    noisy = trust in ("local", "distributed")
    assert np.array_equal(joint.shares.body, totals.sum(0)) != noisy
