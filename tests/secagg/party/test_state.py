"""Parties add exactly the agreed clients' shares, open once what may be opened, and forget everything else."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from secagg.envelopes import SealedMessage
from secagg.party.frames import ChannelBroken, Frame
from secagg.party.mesh import Mesh
from secagg.party.state import State
from tests.secagg.party.in_threads import Parties


@pytest.fixture(params=[2, 3])
def trio(request, tmp_path):
    parties = Parties(request.param, tmp_path)
    yield parties
    parties.end()


def kinds(answers):
    return {answer and answer.kind for answer in answers}


def states(parties):
    return {party.state for party in parties.parties}


def lines(parties, rank=0):
    parties.journals[rank].close()
    return [json.loads(line) for line in parties.journals[rank]._path.read_text().splitlines()]


def test_a_round_goes_from_open_to_closed_to_the_sum_and_is_forgotten(trio):
    spec = trio.spec()
    assert states(trio) == {State.IDLE}
    assert kinds(trio.open(spec)) == {"opened"}
    assert states(trio) == {State.OPEN}
    trio.batch([trio.sealed(spec, 0, [1, 2, 3]), trio.sealed(spec, 2, [10, 20, -30])])
    trio.batch([trio.sealed(spec, 3, [5, 5, 5])])
    closed = trio.close()
    assert [answer.facts["clients"] for answer in closed] == [[[0, 1], [2, 4]]] * len(closed)
    assert states(trio) == {State.CLOSED}
    answers = trio.reveal()
    assert np.frombuffer(answers[0].payload, dtype="<i8").tolist() == [16, 27, -22]
    assert len({answer.facts["digest"] for answer in answers}) == 1
    assert {bytes(answer.payload) for answer in answers[1:]} == {b""}
    assert states(trio) == {State.IDLE}
    assert all(party._round is None for party in trio.parties)
    for rank in range(len(trio.parties)):
        (opened,) = lines(trio, rank)
        assert (opened["kind"], opened["clients"]) == ("opened", [[0, 1], [2, 4]])


def test_only_clients_whose_parts_reached_every_party_are_added(trio):
    spec = trio.spec()
    trio.open(spec)
    whole = [trio.sealed(spec, client, [1, 10, 100]) for client in range(4)]
    for client in range(1, 4):
        parts = list(whole[client].parts)
        parts[client % len(parts)] = b""
        whole[client] = SealedMessage((client,), tuple(parts))
    trio.batch(whole)
    assert [answer.facts["clients"] for answer in trio.close()] == [[[0, 1]]] * len(trio.parties)
    assert trio.total() == [1, 10, 100]


def test_replays_duplicates_and_strangers_are_refused_and_change_nothing(trio):
    spec, other = trio.spec(), trio.spec(round_=2)
    trio.open(spec)
    first = trio.sealed(spec, 0, [1, 2, 3])
    trio.batch([first, first, trio.sealed(spec, 0, [9, 9, 9])])
    trio.batch([first, trio.sealed(spec, 7, [9, 9, 9]), trio.sealed(other, 1, [9, 9, 9])])
    trio.close()
    assert trio.total() == [1, 2, 3]
    reasons = " | ".join(line["reason"] for line in lines(trio) if line["kind"] == "refused")
    for said in ("client 0 has already sent", "client 7 is not part", "for round 2 attempt 0"):
        assert said in reasons


def test_below_the_minimum_nothing_is_opened_and_the_reason_is_in_the_journal(trio):
    spec = trio.spec(n_min=2)
    trio.open(spec)
    trio.batch([trio.sealed(spec, 0, [1, 2, 3])])
    assert kinds(trio.close()) == {"below"}
    assert kinds(trio.reveal()) == {"failed"}
    assert states(trio) == {State.IDLE}
    (refused,) = lines(trio)
    assert "1 clients are left, below n_min 2" in refused["reason"]


def test_nothing_is_revealed_before_the_set_is_agreed(trio):
    spec = trio.spec()
    trio.open(spec)
    trio.batch([trio.sealed(spec, 0, [1, 2, 3])])
    for party in trio.parties:
        with pytest.raises(ChannelBroken, match="a frame 'reveal' in state open"):
            party.handle(Frame("reveal"))


def test_nothing_is_added_after_the_set_is_agreed(trio):
    spec = trio.spec()
    trio.open(spec)
    trio.batch([trio.sealed(spec, 0, [1, 2, 3])])
    trio.close()
    for party in trio.parties:
        with pytest.raises(ChannelBroken, match="a frame 'batch' in state closed"):
            party.handle(Frame("batch", {"index": 1, "lengths": []}))


def test_a_party_itself_refuses_to_open_a_round_again_even_after_a_restart(tmp_path):
    before = Parties(2, tmp_path)
    spec = before.spec()
    before.open(spec)
    before.batch([before.sealed(spec, 0, [1, 2, 3])])
    before.close()
    before.reveal()
    assert kinds(before.open(spec)) == {"refused"}
    before.end()
    after = Parties(2, tmp_path)
    answers = after.open(spec)
    assert kinds(answers) == {"refused"}
    assert "was opened before; a sum is opened once" in answers[0].facts["reason"]
    after.run = before.run
    assert kinds(after.open(after.spec(attempt=1))) == {"opened"}
    after.end()


def test_what_may_have_been_opened_counts_as_opened(tmp_path):
    """A party that dies after the journal's entry may have let the others open the sum."""
    parties = Parties(2, tmp_path)
    spec = parties.spec()
    parties.open(spec)
    parties.batch([parties.sealed(spec, 0, [1, 2, 3])])
    parties.close()
    parties.meshes[1].close()
    assert kinds(parties.reveal()) == {"failed"}
    assert kinds(parties.open(spec)) == {"refused"}
    parties.end()


def test_a_set_that_differs_by_few_from_an_earlier_one_of_the_same_model_is_not_opened(tmp_path):
    parties = Parties(2, tmp_path, min_difference=2)

    def attempt(number, clients, model):
        spec = parties.spec(attempt=number, model=model)
        parties.open(spec)
        parties.batch([parties.sealed(spec, client, [1, 1, 1]) for client in clients])
        answer = parties.close()[0]
        if answer.kind == "closed":
            parties.reveal()
        return answer.kind

    assert attempt(0, (0, 1), "aa") == "closed"
    assert attempt(1, (0, 1, 2), "aa") == "refused"
    assert attempt(2, (0, 1), "aa") == "closed"
    assert attempt(3, (0, 1, 2, 3), "aa") == "closed"
    assert attempt(4, (0, 1, 2), "bb") == "closed"
    parties.end()


def test_a_party_keeps_to_its_own_policy_whatever_the_coordinator_asks(tmp_path):
    parties = Parties(2, tmp_path, n_min=3)
    answers = parties.open(parties.spec(n_min=2))
    assert kinds(answers) == {"refused"}
    assert "opens no sum of fewer than 3" in answers[0].facts["reason"]
    parties.end()


def test_a_policy_of_more_clients_than_usual_holds_also_after_a_restart(tmp_path):
    many = 2**20 + 5
    for attempt in (0, 1):
        parties = Parties(2, tmp_path, max_clients=many)
        parties.run = "many"
        spec = parties.spec(clients=range(many), attempt=attempt)
        assert kinds(parties.open(spec)) == {"opened"}
        parties.batch([parties.sealed(spec, tuple(range(many)), [1, 2, 3])])
        assert [answer.facts["clients"] for answer in parties.close()] == [[[0, many]]] * 2
        assert parties.total() == [1, 2, 3]
        parties.end()


@pytest.mark.parametrize(
    "spec", [None, [], ["run", 1], ["run", 1, 0, [[0, 4]], 2**60, 1, 1, 64, "", ["", 0.0, []], 0], 7]
)
def test_a_round_that_is_none_fails_in_a_sentence(tmp_path, spec):
    parties = Parties(2, tmp_path)
    assert kinds(parties.ask(Frame("open", {"spec": spec}))) == {"failed"}
    parties.end()


@pytest.mark.parametrize(
    "facts", [{}, {"index": 1, "lengths": []}, {"index": 0, "lengths": 3}, {"index": 0, "lengths": [-1]}]
)
def test_a_batch_out_of_turn_ends_the_connection(tmp_path, facts):
    parties = Parties(2, tmp_path)
    parties.open(parties.spec())
    with pytest.raises(ChannelBroken):
        parties.parties[0].handle(Frame("batch", facts))
    parties.end()


def test_an_unknown_frame_ends_the_connection(tmp_path):
    parties = Parties(2, tmp_path)
    with pytest.raises(ChannelBroken, match="unknown frame 'dump'"):
        parties.parties[0].handle(Frame("dump"))
    parties.end()


def test_the_coordinator_hears_from_every_party_before_it_waits_for_the_others(trio):
    spec = trio.spec()
    trio.open(spec)
    trio.batch([trio.sealed(spec, 0, [1, 2, 3])])
    trio.close()
    trio.reveal()
    assert trio.reports == [["heard"] * 3] * len(trio.parties)


def test_a_party_that_lost_another_says_so_and_forgets(trio):
    spec = trio.spec()
    trio.open(spec)
    trio.batch([trio.sealed(spec, 0, [1, 2, 3])])
    trio.meshes[1].close()
    answers = trio.close()
    assert kinds(answers) == {"failed"}
    assert states(trio) == {State.IDLE}
    assert kinds(trio.reveal()) == {"failed"}


def test_parties_that_hold_different_clients_open_nothing(tmp_path):
    parties = Parties(2, tmp_path)
    spec = parties.spec()
    parties.open(spec)
    parties.batch([parties.sealed(spec, 0, [1, 2, 3])])
    parties.parties[0]._round.accepted.add(3)
    answers = parties.close()
    assert kinds(answers) == {"failed"}
    assert "holds other clients" in " ".join(answer.facts["reason"] for answer in answers)
    parties.end()


@pytest.mark.parametrize("nonsense", [None, 7, "x", [[1]], [{}], [b"a", b"a"], ["a"]], ids=repr)
@pytest.mark.parametrize(("liar", "kind", "fact"), [(1, "have", "held"), (0, "settle", "everywhere")])
def test_names_that_are_none_from_another_party_end_the_round_and_not_the_party(
    tmp_path, monkeypatch, liar, kind, fact, nonsense
):
    honest = Mesh.send

    def send(self, rank, sent, facts, *payload):
        if self.rank == liar and sent == kind:
            facts = {**facts, fact: nonsense}
        return honest(self, rank, sent, facts, *payload)

    monkeypatch.setattr(Mesh, "send", send)
    parties = Parties(2, tmp_path)
    spec = parties.spec()
    parties.open(spec)
    parties.batch([parties.sealed(spec, 0, [1, 2, 3])])
    answer = parties.close()[1 - liar]
    assert answer.kind == "failed"
    assert re.search(f"party {liar} (is at|settled) another batch", answer.facts["reason"])
    parties.end()


def test_refusals_are_logged_without_shares(trio, caplog):
    spec = trio.spec()
    trio.open(spec)
    secret = b"secret-seed-secret-seed-secret-s"
    with caplog.at_level(0):
        trio.batch([SealedMessage((0,), (secret,) * len(trio.parties))])
        trio.close()
    assert "secret" not in caplog.text
    assert "secret" not in json.dumps(lines(trio))


def test_shares_are_cut_to_the_ring_before_they_are_revealed(tmp_path, monkeypatch):
    """Carries above the ring's bits depend on one share and its masks alone; nobody needs them."""
    import secagg.party.state as state

    shown = []
    honest = state.open_sum
    monkeypatch.setattr(state, "open_sum", lambda mesh, share: (shown.append(share.copy()), honest(mesh, share))[1])
    parties = Parties(2, tmp_path)
    spec = parties.spec(length=500, bits=16)
    parties.open(spec)
    parties.batch([parties.sealed(spec, client, np.full(500, 100)) for client in range(3)])
    parties.close()
    assert parties.total() == [300] * 500
    assert max(abs(share).max() for share in shown) <= 2**15
    parties.end()


def test_memory_of_a_party_does_not_grow_with_the_number_of_clients(tmp_path):
    parties = Parties(2, tmp_path)
    spec = parties.spec(clients=range(60), length=1000)
    parties.open(spec)
    for client in range(60):
        parties.batch([parties.sealed(spec, client, np.ones(1000))])
        waiting = [part for parts in parties.parties[1]._round.held.values() for part in parts.values()]
        assert sum(len(part.key) + len(part.body) for part in waiting) <= 32 * 60
        assert sum(map(len, parties.parties[0]._round.intake._rooms)) == 8 * 1000
    parties.close()
    assert parties.total() == [60] * 1000
    parties.end()
