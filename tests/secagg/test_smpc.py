"""What SMPC has beside plaintext: parties that judge by themselves, add noise, check norms, die and are replaced."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import SmpcAggregator
from secagg.envelopes import SealedMessage, seal
from secagg.errors import AggregationError
from secagg.messages import RoundNoise
from secagg.round_state import BelowMinimum, MessageRefused
from secagg.smpc import PartyFailure
from tests.secagg.rounds import NUMBERS, message, new_run, opened, spec


@pytest.fixture(autouse=True)
def _own_run():
    new_run()


@pytest.fixture(scope="module")
def smpc():
    with SmpcAggregator(3, timeout_s=20) as aggregator:
        yield aggregator


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


def test_noise_of_aggregators_is_added_once_by_each_party(smpc):
    noise = RoundNoise("discrete_gaussian", 100.0)
    of = dataclasses.replace(spec(length=20_000), noise=noise)
    total = opened(smpc, {client: np.zeros(20_000) for client in (0, 1)}, of).total
    assert abs(total.std() / (100 * 3**0.5) - 1) < 0.03


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
