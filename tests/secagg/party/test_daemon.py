"""A party adds exactly the agreed clients' shares, opens once, and forgets; with a stand-in for the other parties."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import AggregationError
from secagg.party.crypten_backend import digest
from secagg.party.daemon import Party
from secagg.party.frames import ChannelBroken, Frame
from secagg.sharing import expand


class Others:
    """The group as seen from one party: the others hold what `held` says and have zero shares."""

    def __init__(self, held=None):
        self.held, self.events = held, []

    def agree(self, mine):
        self.events.append("agree")
        return mine if self.held is None else mine & np.array(self.held)

    def reveal(self, share):
        self.events.append("reveal")
        return share


def party(rank=0, others=None):
    others = others or Others()
    return Party(rank, others, lambda: others.events.append("heard")), others


def opening(**changes):
    header = {"kind": "open", "run": "run", "round": 1, "attempt": 0, "range": True, "clients": [0, 4], "length": 3}
    return Frame({**header, "n_min": 1, **changes})


def share(client, payload, **changes):
    return Frame({"kind": "share", "run": "run", "round": 1, "attempt": 0, "clients": [client], **changes}, payload)


def body(*values):
    return np.array(values, dtype=np.int64).tobytes()


CLOSE, REVEAL, ABORT = (Frame({"kind": kind}) for kind in ("close", "reveal", "abort"))


def test_only_the_clients_that_all_parties_hold_are_added():
    one, _ = party(0, Others([True, False, True, True]))
    one.handle(opening())
    for client in (0, 1, 2):
        one.handle(share(client, body(1, 10**client, -1)))
    assert one.handle(CLOSE).header["clients"] == [0, 2]
    answer = one.handle(REVEAL)
    total = np.frombuffer(answer.payload, dtype=np.int64)
    assert total.tolist() == [2, 101, -2]
    assert answer.header["digest"] == digest(total)


def test_a_seed_stands_for_its_keystream_and_only_party_0_returns_the_sum():
    one, _ = party(1)
    one.handle(opening())
    one.handle(share(3, b"k" * 32))
    one.handle(CLOSE)
    answer = one.handle(REVEAL)
    assert answer.payload == b""
    assert answer.header["digest"] == digest(expand(b"k" * 32, 3))


def test_the_caller_hears_from_the_party_before_it_waits_for_the_others():
    one, others = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    one.handle(CLOSE)
    one.handle(REVEAL)
    assert others.events == ["heard", "agree", "heard", "reveal"]


@pytest.mark.parametrize(
    "wrong",
    [
        share(0, body(9, 9, 9)),
        share(7, body(9, 9, 9)),
        share(1, body(9, 9)),
        share(1, body(9, 9, 9)[:-1]),
        share(1, body(9, 9, 9), round=2),
        share(1, body(9, 9, 9), attempt=1),
        share(1, body(9, 9, 9), run="other"),
        share(1, body(9, 9, 9), clients=[]),
    ],
    ids=["twice", "unknown", "short", "cut", "round", "attempt", "run", "nobody"],
)
def test_shares_that_do_not_belong_are_ignored_without_an_answer(wrong):
    one, _ = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    assert one.handle(wrong) is None
    assert one.handle(CLOSE).header["clients"] == [0]
    assert np.frombuffer(one.handle(REVEAL).payload, dtype=np.int64).tolist() == [1, 2, 3]


def test_a_share_that_comes_after_the_agreement_does_not_enter_the_sum():
    one, _ = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    one.handle(CLOSE)
    one.handle(share(1, body(5, 5, 5)))
    assert np.frombuffer(one.handle(REVEAL).payload, dtype=np.int64).tolist() == [1, 2, 3]


def test_below_its_own_minimum_the_party_forgets_and_will_not_open():
    one, others = party()
    one.handle(opening(n_min=2))
    one.handle(share(0, body(1, 2, 3)))
    assert one.handle(CLOSE).kind == "below"
    with pytest.raises(ChannelBroken, match="no round is open"):
        one.handle(REVEAL)
    assert "reveal" not in others.events


def test_nothing_opens_before_the_agreement_or_a_second_time():
    one, others = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    with pytest.raises(ChannelBroken, match="before agreement"):
        one.handle(REVEAL)
    one.handle(CLOSE)
    one.handle(REVEAL)
    with pytest.raises(ChannelBroken, match="no round is open"):
        one.handle(REVEAL)
    assert others.events.count("reveal") == 1


@pytest.mark.parametrize("end", [ABORT, opening(round=2)], ids=["abort", "next round"])
def test_an_ended_rounds_shares_are_gone(end):
    one, _ = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    one.handle(end)
    one.handle(opening())
    one.handle(share(1, body(4, 4, 4)))
    assert one.handle(CLOSE).header["clients"] == [1]
    assert np.frombuffer(one.handle(REVEAL).payload, dtype=np.int64).tolist() == [4, 4, 4]


def test_an_unknown_frame_ends_the_party():
    one, _ = party()
    with pytest.raises(ChannelBroken, match="unknown frame 'dump'"):
        one.handle(Frame({"kind": "dump"}))


def test_refusals_are_logged_without_shares(caplog):
    one, _ = party(1)
    one.handle(opening())
    with caplog.at_level(0):
        one.handle(share(9, b"secret-seed-secret-seed-secret-s"))
        one.handle(share(1, b"secret"))
    assert len(caplog.messages) == 2
    assert "secret" not in caplog.text


def test_a_party_itself_refuses_to_open_a_round_again():
    """Whoever asks: two openings that differ by one client would give that client's own message away."""
    one, others = party()
    one.handle(opening())
    one.handle(share(0, body(1, 2, 3)))
    one.handle(CLOSE)
    one.handle(REVEAL)
    with pytest.raises(AggregationError, match="was opened before; a sum is opened once"):
        one.handle(opening())
    assert others.events.count("reveal") == 1
    one.handle(opening(attempt=1))
