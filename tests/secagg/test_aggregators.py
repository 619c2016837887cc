"""Plaintext and SMPC refuse the same things and open the same bits; nothing is opened that must not be."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import secagg
from secagg import ClientMessage, PlaintextAggregator, RoundSpec, SmpcAggregator
from secagg.envelopes import SealedMessage, seal
from secagg.errors import AggregationError
from secagg.messages import RoundNoise
from secagg.openings import OpeningRefused
from secagg.randomness import Keystream
from secagg.round_state import BelowMinimum, MessageRefused
from secagg.sharing import Shares, split
from secagg.smpc import PartyFailure
from secagg.xnoise import component_stds, draw_components, surplus

SOURCE = Keystream.system()
NUMBERS = itertools.count()
RUN = {"id": ""}


@pytest.fixture(autouse=True)
def _own_run():
    """No two tests share a run, because no round of a run is opened twice."""
    RUN["id"] = f"run-{next(NUMBERS)}"


def spec(clients=range(4), length=3, n_min=2, round_=1, attempt=0):
    return RoundSpec(RUN["id"], round_, attempt, clients, length, n_min)


def message(aggregator, client, vector, of=None):
    of = of or spec(length=len(vector))
    clients = client if isinstance(client, tuple) else (client,)
    shares = split(np.asarray(vector, dtype=np.int64), aggregator.parties, SOURCE, of.bits)
    return ClientMessage(of.run, of.round, of.attempt, clients, shares)


def opened(aggregator, vectors, of, hook=None):
    of = dataclasses.replace(of, attempt=next(NUMBERS))
    aggregator.open_round(of)
    for client, vector in vectors.items():
        aggregator.submit(message(aggregator, client, vector, of))
    return aggregator.close(hook)


@pytest.fixture(scope="module")
def smpc():
    with SmpcAggregator(3, timeout_s=20) as aggregator:
        yield aggregator


@pytest.fixture(params=["plaintext", "smpc"])
def aggregator(request):
    if request.param == "plaintext":
        return PlaintextAggregator()
    return request.getfixturevalue("smpc")


vectors = st.dictionaries(
    st.integers(0, 5),
    hnp.arrays(np.int64, 7, elements=st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vectors=vectors)
def test_smpc_and_plaintext_open_bit_identical_sums_that_equal_the_sum_in_the_ring(smpc, vectors):
    of = spec(range(6), 7, 1)
    secure = opened(smpc, vectors, of)
    plain = opened(PlaintextAggregator(), vectors, of)
    assert secure.total.dtype == plain.total.dtype == np.int64
    assert secure.total.tobytes() == plain.total.tobytes()
    assert secure.clients == plain.clients == frozenset(vectors)
    for index in range(7):
        exact = sum(int(v[index]) for v in vectors.values())
        assert (exact - int(secure.total[index])) % 2**64 == 0


def test_messages_that_do_not_belong_are_refused_and_change_nothing(aggregator):
    of = spec()
    aggregator.open_round(of)
    aggregator.submit(message(aggregator, 0, [1, 2, 3]))
    bad = [
        (message(aggregator, 0, [9, 9, 9]), "already sent"),
        (message(aggregator, 7, [9, 9, 9]), "client 7 is not part"),
        (message(aggregator, 1, [9, 9]), "length 2"),
        (message(aggregator, 1, [9, 9, 9], spec(round_=2)), "for round 2"),
        (message(aggregator, 1, [9, 9, 9], spec(attempt=1)), "attempt 1"),
        (message(aggregator, (1, 1), [9, 9, 9]), "twice"),
        (message(aggregator, (), [9, 9, 9]), "no client"),
        (message(aggregator, 1, [9, 9, 9], dataclasses.replace(of, bits=31)), r"ring of 2\^31; this round's is 2\^64"),
        (ClientMessage(RUN["id"], 1, 0, (1,), Shares(np.zeros(3, np.int64), (b"x" * 32,))), "seeds"),
    ]
    for wrong, says in bad:
        with pytest.raises(MessageRefused, match=says):
            aggregator.submit(wrong)
    aggregator.submit(message(aggregator, 2, [10, 20, 30]))
    result = aggregator.close()
    assert result.total.tolist() == [11, 22, 33]
    assert result.clients == {0, 2}


def test_below_the_minimum_nothing_is_opened_and_the_hook_is_not_called(aggregator):
    called = []
    with pytest.raises(BelowMinimum, match="1 clients are left, below n_min 2"):
        opened(aggregator, {0: [1, 2, 3]}, spec(), called.append)
    assert not called
    assert opened(aggregator, {0: [1, 2, 3], 1: [1, 1, 1]}, spec()).total.tolist() == [2, 3, 4]


def test_the_hook_runs_before_the_opening_with_the_agreed_clients_and_can_stop_it(aggregator):
    def stop(clients):
        assert clients == {1, 3}
        raise RuntimeError("the ledger is full")

    with pytest.raises(RuntimeError, match="ledger"):
        opened(aggregator, {1: [1, 2, 3], 3: [1, 2, 3]}, spec(), stop)
    with pytest.raises(AggregationError, match="no round is open"):
        aggregator.close()
    assert opened(aggregator, {0: [5, 5, 5], 1: [1, 1, 1]}, spec()).total.tolist() == [6, 6, 6]


def test_a_new_round_forgets_the_one_before(aggregator):
    aggregator.open_round(spec())
    aggregator.submit(message(aggregator, 0, [100, 100, 100]))
    assert opened(aggregator, {0: [1, 1, 1], 1: [1, 1, 1]}, spec(attempt=1)).total.tolist() == [2, 2, 2]


def test_a_round_is_opened_once_whoever_is_in_it(aggregator):
    of = spec()
    aggregator.open_round(of)
    for client in (0, 1, 2):
        aggregator.submit(message(aggregator, client, [1, 1, 1], of))
    aggregator.close()
    with pytest.raises(AggregationError, match="was opened before; a sum is opened once"):
        aggregator.open_round(of)


def test_an_aborted_round_cannot_be_closed(aggregator):
    aggregator.open_round(spec())
    aggregator.abort()
    with pytest.raises(AggregationError, match="no round is open"):
        aggregator.submit(message(aggregator, 0, [1, 1, 1]))


def test_a_joint_message_counts_all_of_its_clients(aggregator):
    of = spec(range(1000), 3, 900)
    result = opened(aggregator, {tuple(range(950)): [7, 8, 9]}, of)
    assert result.total.tolist() == [7, 8, 9]
    assert len(result.clients) == 950


def test_rounds_over_a_set_of_ids_work_like_ranges(aggregator):
    of = spec(frozenset({3, 17, 99}), 3, 2)
    assert opened(aggregator, {17: [1, 2, 3], 99: [1, 2, 3]}, of).clients == {17, 99}


@pytest.mark.parametrize("wrong", [{"n_min": 0}, {"n_min": 5}, {"length": 0}, {"length": 2**29}])
def test_impossible_rounds_are_refused(wrong):
    with pytest.raises(AggregationError, match="allowed"):
        spec(**wrong)


def sealed(aggregator, client, vector, of):
    return seal(message(aggregator, client, vector, of), of, aggregator.deployment, aggregator.signing_key)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_client_that_reached_only_some_parties_does_not_count(smpc, missing):
    of = spec()
    smpc.open_round(of)
    for client in (0, 1):
        smpc.submit(message(smpc, client, [1, 1, 1]))
    whole = sealed(smpc, 2, [50, 50, 50], of)
    smpc.submit(SealedMessage((2,), tuple(b"" if party == missing else part for party, part in enumerate(whole.parts))))
    result = smpc.close()
    assert result.clients == {0, 1}
    assert result.total.tolist() == [2, 2, 2]


def test_parts_of_two_messages_of_one_client_are_not_combined(smpc):
    of = spec()
    smpc.open_round(of)
    for client in (0, 1):
        smpc.submit(message(smpc, client, [1, 1, 1]))
    one, other = (sealed(smpc, 2, [50, 50, 50], of) for _ in range(2))
    smpc.submit(SealedMessage((2,), (one.parts[0], *other.parts[1:])))
    assert smpc.close().total.tolist() == [2, 2, 2]


def test_parties_themselves_refuse_what_the_coordinator_relays(smpc):
    of = spec()
    smpc.open_round(of)
    kept = sealed(smpc, 0, [1, 1, 1], of)
    smpc.submit(kept)
    smpc.submit(kept)
    smpc.submit(sealed(smpc, 0, [9, 9, 9], of))
    smpc.submit(sealed(smpc, 7, [9, 9, 9], of))
    for wrong in (spec(round_=2), spec(attempt=1), spec(n_min=1)):
        smpc.submit(sealed(smpc, 2, [9, 9, 9], wrong))
    smpc.submit(SealedMessage((2,), (b"x" * 3, b"x" * 500, b"x" * 70)))
    smpc.submit(sealed(smpc, 1, [1, 1, 1], of))
    with pytest.raises(MessageRefused, match="2 parts for 3 parties"):
        smpc.submit(SealedMessage((2,), kept.parts[:2]))
    with pytest.raises(MessageRefused, match="more than this round's can have"):
        smpc.submit(SealedMessage((2,), (bytes(2**23), b"", b"")))
    result = smpc.close()
    assert result.clients == {0, 1}
    assert result.total.tolist() == [2, 2, 2]


@pytest.mark.parametrize("bits", [2, 8, 31, 63])
def test_narrow_rings_open_the_sum_modulo_their_size(aggregator, bits):
    of = dataclasses.replace(spec(), bits=bits)
    half = 2 ** (bits - 1)
    found = opened(aggregator, {0: [1, -1, half - 1], 1: [0, -half + 1, 1]}, of).total.tolist()
    assert found == [1, -half, -half]


def test_openings_of_one_model_are_over_equal_sets_or_differ_by_many(aggregator):
    of = dataclasses.replace(spec(range(8), n_min=3), model="aa")
    ones = {client: [1, 1, 1] for client in range(8)}
    assert len(opened(aggregator, {c: ones[c] for c in range(5)}, of).clients) == 5
    assert len(opened(aggregator, {c: ones[c] for c in range(5)}, of).clients) == 5
    told = []
    with pytest.raises(OpeningRefused, match="differ by 1 .* at least 3"):
        opened(aggregator, {c: ones[c] for c in range(6)}, of, told.append)
    assert not told
    assert len(opened(aggregator, ones, of).clients) == 8
    assert len(opened(aggregator, {c: ones[c] for c in range(6)}, dataclasses.replace(of, model="bb")).clients) == 6


def test_noise_of_aggregators_is_added_once_by_each_party(smpc):
    noise = RoundNoise("discrete_gaussian", 100.0)
    of = dataclasses.replace(spec(length=20_000), noise=noise)
    total = opened(smpc, {client: np.zeros(20_000) for client in (0, 1)}, of).total
    assert abs(total.std() / (100 * 3**0.5) - 1) < 0.03


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam"])
@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_exactly_the_surplus_noise_of_the_survivors_is_removed(aggregator, mechanism, dropped):
    stds = component_stds(20.0, 6, 2, True)
    of = dataclasses.replace(spec(range(6), 50, 4, attempt=next(NUMBERS)), noise=RoundNoise(mechanism, 0.0, stds))
    aggregator.open_round(of)
    wanted = np.zeros(50, dtype=np.int64)
    for client in range(6 - dropped):
        noise, seeds = draw_components(mechanism, stds, 50, Keystream.system())
        wanted += noise - surplus(mechanism, stds, dropped, seeds[dropped:], 50)
        whole = message(aggregator, client, noise, of)
        aggregator.submit(dataclasses.replace(whole, noise_seeds=seeds))
    result = aggregator.close()
    assert len(result.clients) == 6 - dropped
    assert result.total.tolist() == wanted.tolist()


def test_messages_without_the_rounds_noise_seeds_are_refused(aggregator):
    of = dataclasses.replace(spec(), noise=RoundNoise("skellam", 0.0, component_stds(20.0, 4, 2, True)))
    aggregator.open_round(of)
    with pytest.raises(MessageRefused, match="noise seeds"):
        aggregator.submit(message(aggregator, 0, [1, 2, 3], of))


def test_a_norm_check_drops_oversize_vectors_and_says_nothing_else_about_them(parties):
    of = dataclasses.replace(spec(range(5), 4, 2), norm_bound=10)
    vectors = {0: [10, 0, 0, 0], 1: [6, 8, 0, 0], 2: [10, 1, 0, 0], 3: [2**62] * 4, 4: [-1, 0, 0, -1]}
    result = opened(parties, vectors, of)
    assert result.clients == {0, 1, 4}
    assert result.total.tolist() == [15, 8, 0, -1]
    assert parties.refused == 2
    joint = dataclasses.replace(of, attempt=next(NUMBERS))
    parties.open_round(joint)
    parties.submit(message(parties, (0, 1, 2), [1, 1, 1, 1], joint))
    with pytest.raises(BelowMinimum):
        parties.close()


def test_a_norm_check_needs_a_dealer(smpc):
    with pytest.raises(AggregationError, match="needs a dealer"):
        smpc.open_round(dataclasses.replace(spec(), norm_bound=5))


def test_plaintext_aggregation_refuses_what_needs_parties():
    for of in (
        dataclasses.replace(spec(), noise=RoundNoise("discrete_gaussian", 100.0)),
        dataclasses.replace(spec(), norm_bound=5),
    ):
        with pytest.raises(AggregationError, match="no parties"):
            PlaintextAggregator().open_round(of)


@pytest.mark.parametrize("parties", [2, 5])
def test_other_numbers_of_parties_open_the_same_sum(parties):
    with SmpcAggregator(parties, timeout_s=60) as aggregator:
        assert opened(aggregator, {0: [1, 2, 3], 1: [10, -20, 30]}, spec()).total.tolist() == [11, -18, 33]


@pytest.mark.parametrize("when", ["between submit and close", "before the opening"])
def test_a_killed_party_is_named_nothing_comes_back_and_the_next_round_works(smpc, when):
    of = spec()
    smpc.open_round(of)
    for client in (0, 1):
        smpc.submit(message(smpc, client, [1, 1, 1]))

    def kill(_):
        os.kill(smpc.pids[1], signal.SIGKILL)

    started = time.monotonic()
    if when == "between submit and close":
        kill(None)
    with pytest.raises(PartyFailure, match=r"party 1 of 3 was killed by signal 9 \(SIGKILL\)"):
        smpc.close(kill if when == "before the opening" else None)
    assert time.monotonic() - started < 20  # found by its death, not by the time-out of a hang
    assert opened(smpc, {0: [1, 1, 1], 1: [1, 1, 1]}, of).total.tolist() == [2, 2, 2]


def test_a_party_that_stands_still_ends_in_a_time_out():
    with SmpcAggregator(2, timeout_s=2) as aggregator:
        aggregator.open_round(spec())
        for client in (0, 1):
            aggregator.submit(message(aggregator, client, [1, 1, 1]))
        os.kill(aggregator.pids[1], signal.SIGSTOP)
        with pytest.raises(PartyFailure, match="no answer within 2 s"):
            aggregator.close()


def test_a_party_that_does_not_read_ends_in_a_time_out_too():
    with SmpcAggregator(2, timeout_s=2) as aggregator:
        of = spec(range(80), 100_000, 1)
        aggregator.open_round(of)
        os.kill(aggregator.pids[0], signal.SIGSTOP)

        def flood():
            for client in range(80):
                aggregator.submit(message(aggregator, client, np.zeros(100_000), of))

        with pytest.raises(PartyFailure, match="party 0 of 2 did not read for 2 s"):
            flood()
        assert opened(aggregator, {0: [1, 1, 1], 1: [1, 1, 1]}, spec()).total.tolist() == [2, 2, 2]


def test_parties_end_with_their_parent():
    script = textwrap.dedent("""
        import os, signal, sys
        from secagg import RoundSpec, SmpcAggregator
        aggregator = SmpcAggregator(2, timeout_s=60)
        aggregator.open_round(RoundSpec("run", 1, 0, range(2), 3, 1))
        print(*aggregator.pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    root = str(Path(secagg.__file__).resolve().parent.parent)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2, ended.stderr
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_missing_crypten_is_a_sentence_that_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "crypten").mkdir()
    (tmp_path / "crypten" / "__init__.py").write_text("import a_module_that_does_not_exist\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PartyFailure, match="pip install --no-deps crypten"), SmpcAggregator(2, 30) as aggregator:
        aggregator.open_round(spec())


@pytest.mark.parametrize(
    ("arguments", "says"), [((1,), "2 or more"), ((3, 0.0), "above 0"), ((3, float("nan")), "above 0")]
)
def test_impossible_groups_are_refused(arguments, says):
    with pytest.raises(AggregationError, match=says):
        SmpcAggregator(*arguments)


def test_importing_the_package_loads_neither_crypten_nor_opendp():
    code = "import secagg, secagg.smpc, sys; print([m for m in ('crypten', 'opendp') if m in sys.modules])"
    root = str(Path(secagg.__file__).resolve().parent.parent)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert out.stdout.strip() == "[]"
