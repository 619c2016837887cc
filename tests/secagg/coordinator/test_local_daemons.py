"""Whatever happens to a party or its caller: the right party is named, nothing stale is read, nothing is left over."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import ClientMessage, RoundSpec, SmpcAggregator
from secagg.errors import AggregationError
from secagg.party.frames import Frame
from secagg.sharing import split
from secagg.smpc import PartyFailure
from tests.secagg.rounds import RUN, SOURCE, new_run


@pytest.fixture(autouse=True)
def _own_run():
    new_run()


@pytest.fixture(scope="module")
def group():
    with SmpcAggregator(3, timeout_s=4) as aggregator:
        yield aggregator


def begin(aggregator, round_, clients=(0,)):
    aggregator.open_round(RoundSpec(RUN["id"], round_, 0, range(4), 3, 1))
    for client in clients:
        submit(aggregator, round_, client)


def submit(aggregator, round_, client):
    shares = split(np.array([1, 2, 3], dtype=np.int64), aggregator.parties, SOURCE)
    aggregator.submit(ClientMessage(RUN["id"], round_, 0, (client,), shares))


def test_the_party_that_stands_still_is_named_not_those_that_wait_for_it(group):
    begin(group, 1)
    os.kill(group.pids[2], signal.SIGSTOP)
    with pytest.raises(PartyFailure, match="party 2 of 3 gave no answer within 4 s; the sum of round 1 is lost"):
        group.close()


def test_a_party_killed_during_the_agreement_is_named_and_found_before_the_time_out(group):
    begin(group, 1)
    os.kill(group.pids[2], signal.SIGSTOP)  # so that the others are inside the agreement when it dies
    killer = threading.Timer(0.5, os.kill, (group.pids[2], signal.SIGKILL))
    killer.start()
    with pytest.raises(PartyFailure, match=r"party 2 of 3 was killed by signal 9 \(SIGKILL\)"):
        group.close()
    killer.join()


def test_a_party_that_died_between_rounds_costs_no_round(group):
    begin(group, 1)
    group.close()
    os.kill(group.pids[1], signal.SIGKILL)
    wait_until(lambda: group.members.daemons.why_ended([0, 1, 2]))
    begin(group, 2)
    assert group.close().total.tolist() == [1, 2, 3]


def test_after_a_failure_every_call_is_a_sentence_until_the_next_round(group):
    begin(group, 1)
    os.kill(group.pids[0], signal.SIGKILL)
    wait_until(lambda: group.members.daemons.why_ended([0, 1, 2]))
    with pytest.raises(PartyFailure, match="party 0 of 3"):
        group.close()
    for again in (lambda: submit(group, 1, 2), group.close):
        with pytest.raises(AggregationError, match="no round is open"):
            again()
    group.abort()


def test_an_interrupted_close_leaves_no_answer_behind_for_the_next_round(group):
    begin(group, 1, (0,))
    stopped = group.pids[1]
    os.kill(stopped, signal.SIGSTOP)
    threading.Timer(0.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        group.close()
    told = []
    begin(group, 2, (1, 3))
    assert group.close(told.append).total.tolist() == [2, 4, 6]
    assert told == [{1, 3}]


def test_parties_that_opened_different_sums_are_not_believed(group, monkeypatch):
    begin(group, 1)
    honest = group.members.links.ask

    def ask(kind, facts):
        answers = honest(kind, facts)
        if kind == "reveal":
            answers[2] = Frame("sum", {**answers[2].facts, "digest": bytes(32)})
        return answers

    monkeypatch.setattr(group.members.links, "ask", ask)
    with pytest.raises(PartyFailure, match="different sums"):
        group.close()


@pytest.mark.parametrize("nonsense", [{"digest": [1]}, {"digest": {}}, {"bytes": "many"}, {"bytes": [1]}], ids=repr)
def test_answers_that_are_nonsense_stop_no_coordinator(group, monkeypatch, nonsense):
    begin(group, 1)
    honest = group.members.links.ask

    def ask(kind, facts):
        answers = honest(kind, facts)
        if kind == "reveal":
            answers[2] = Frame("sum", {**answers[2].facts, **nonsense})
        return answers

    monkeypatch.setattr(group.members.links, "ask", ask)
    if "digest" in nonsense:
        with pytest.raises(PartyFailure, match="different sums"):
            group.close()
    else:
        assert group.close().total.tolist() == [1, 2, 3]


def test_parties_that_agreed_on_different_clients_open_nothing(group, monkeypatch):
    begin(group, 1, (0, 1))
    honest, asked = group.members.links.ask, []

    def ask(kind, facts):
        asked.append(kind)
        answers = honest(kind, facts)
        answers[1] = Frame("closed", {"clients": [[0, 1]]})
        return answers

    monkeypatch.setattr(group.members.links, "ask", ask)
    called = []
    with pytest.raises(AggregationError, match="disagree on the clients"):
        group.close(called.append)
    assert asked == ["close"]
    assert not called


def test_parties_outlive_the_thread_that_started_them():
    with SmpcAggregator(2, timeout_s=10) as aggregator:
        starter = threading.Thread(target=begin, args=(aggregator, 1))
        starter.start()
        starter.join()
        time.sleep(0.3)
        assert aggregator.close().total.tolist() == [1, 2, 3]
        folder = aggregator.members.daemons.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        for log in folder.glob("*.log"):
            assert log.read_text() == ""
    assert not folder.exists()


def test_the_folder_of_a_killed_caller_is_removed_by_its_parties():
    script = textwrap.dedent("""
        import os, signal
        from secagg import RoundSpec, SmpcAggregator
        aggregator = SmpcAggregator(2)
        aggregator.open_round(RoundSpec("run", 1, 0, range(2), 3, 1))
        print(aggregator.members.daemons.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    root = str(Path(secagg.__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    folder = Path(ended.stdout.strip())
    assert folder.name.startswith("sotto-parties-"), ended.stderr
    wait_until(lambda: not folder.exists())


def test_a_file_in_the_working_folder_does_not_stand_in_for_a_module(tmp_path, monkeypatch):
    (tmp_path / "crypten.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # a relative entry would name this folder by choice
    with SmpcAggregator(2, timeout_s=10) as aggregator:
        begin(aggregator, 1)
        assert aggregator.close().total.tolist() == [1, 2, 3]


STATES = ["open", "collecting", "all is in", "agreed", "revealing", "idle again"]


@pytest.fixture(scope="module")
def pair():
    with SmpcAggregator(2, timeout_s=10) as aggregator:
        yield aggregator


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("state", STATES)
def test_a_party_killed_in_any_state_opens_nothing_twice_and_the_next_round_works(pair, state, rank):
    vector = np.array([1, 2, 3], dtype=np.int64)
    opened = []

    def kill(now):
        if now == state:
            os.kill(pair.pids[rank], signal.SIGKILL)
            wait_until(lambda: pair.members.daemons.why_ended([0, 1]))

    def agreed(clients):
        kill("agreed")
        if state == "revealing":  # stopped, so that the other is inside the opening when it dies
            os.kill(pair.pids[rank], signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (pair.pids[rank], signal.SIGKILL)).start()

    def attempt(number):
        pair.open_round(RoundSpec(RUN["id"], 1, number, range(4), 3, 1))
        kill("open")
        for client in range(4):
            shares = split(vector, 2, SOURCE)
            pair.submit(ClientMessage(RUN["id"], 1, number, (client,), shares))
            if client == 1:
                pair._flush()
                kill("collecting")
        kill("all is in")
        opened.append(pair.close(agreed).total.tolist())
        kill("idle again")

    if state == "idle again":
        attempt(0)
    else:
        with pytest.raises(PartyFailure, match=rf"party {rank} of 2 was killed by signal 9"):
            attempt(0)
        assert opened == []
    killed_in, state = state, "none"
    if killed_in in ("revealing", "idle again"):
        # It may have been opened, so it counts as opened, at whichever party is still there to know.
        with pytest.raises(AggregationError, match="was opened before"):
            attempt(0)
    attempt(1)
    assert opened[-1] == [4, 8, 12]
    with pytest.raises(AggregationError, match="was opened before"):
        attempt(1)


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
