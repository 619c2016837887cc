"""A party reads exactly the named bytes of files inside its spool, and nothing else."""

from __future__ import annotations

import os

import numpy as np
import pytest

from secagg import ClientMessage, RoundSpec, SmpcAggregator
from secagg.envelopes import SealedMessage, seal
from secagg.errors import PartyFailure
from secagg.party.spool import Spool, SpooledParts, SpoolError, SpoolWriter
from secagg.randomness import Keystream
from secagg.round_state import MessageRefused
from secagg.sharing import split

SOURCE = Keystream.system()


@pytest.mark.parametrize(
    "name", ["", "..", ".", "../x", "a/b", "/etc/passwd", "x\0y", "x\n", "-x", "ä", "x" * 129, None, 7]
)
def test_a_name_that_is_more_than_a_files_is_refused(name):
    with pytest.raises(SpoolError, match="no file name"):
        SpooledParts(name, 0, (1,))


@pytest.mark.parametrize(("offset", "lengths"), [(-1, (1,)), (0, (-1,)), (0, (2**62,)), (0.0, (1,)), (0, (True,))])
def test_a_place_that_no_file_has_is_refused(offset, lengths):
    with pytest.raises(SpoolError, match="no file has"):
        SpooledParts("x", offset, lengths)


def test_the_named_bytes_are_read_whichever_file_was_read_before(tmp_path):
    (tmp_path / "one").write_bytes(b"0123456789")
    (tmp_path / "two").write_bytes(b"abc")
    spool = Spool(tmp_path)
    assert bytes(spool.read(SpooledParts("one", 2, (3, 4)), 100)) == b"2345678"
    assert bytes(spool.read(SpooledParts("two", 0, (3,)), 100)) == b"abc"
    assert bytes(spool.read(SpooledParts("one", 10, ()), 100)) == b""
    spool.close()


def test_what_is_not_there_too_long_or_no_file_is_a_sentence(tmp_path):
    (tmp_path / "short").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    spool = Spool(tmp_path)
    for name, length, says in (
        ("short", 4, "ends before 4 bytes"),
        ("short", 101, "allowed: 100"),
        ("missing", 1, "No such file"),
        ("folder", 1, "no regular file"),
        ("pipe", 1, "no regular file"),
        ("link", 1, "cannot be read"),
    ):
        with pytest.raises(SpoolError, match=says):
            spool.read(SpooledParts(name, 0, (length,)), 100)
    assert bytes(spool.read(SpooledParts("short", 0, (3,)), 100)) == b"123"
    with pytest.raises(SpoolError, match="is no folder"):
        Spool(tmp_path / "short")


def test_a_writer_never_overwrites(tmp_path):
    with SpoolWriter([tmp_path, tmp_path], "up") as writer:
        places = writer.write([SealedMessage((0,), (b"abc", b"d")), SealedMessage((1,), (b"ef", b"gh"))])
        more = writer.write([SealedMessage((2,), (b"i", b""))])
    assert [(place.name, place.offset, place.lengths) for place in places] == [("up.0", 0, (3, 2)), ("up.1", 0, (1, 2))]
    assert [(place.offset, place.lengths) for place in more] == [(5, (1,)), (3, (0,))]
    assert (tmp_path / "up.0").read_bytes() == b"abcefi"
    with pytest.raises(SpoolError, match="cannot be made"):
        SpoolWriter([tmp_path], "up")


def test_parties_open_the_sum_of_spooled_and_relayed_messages(tmp_path):
    vector = np.array([1, -2, 3], dtype=np.int64)
    with SmpcAggregator(2, timeout_s=20, spool=tmp_path) as aggregator:
        aggregator.start()

        def message(spec, client):
            return ClientMessage(spec.run, spec.round, spec.attempt, (client,), split(vector, 2, SOURCE, spec.bits))

        spec = RoundSpec("spooled", 1, 0, range(6), 3, 2, bits=12)
        sealed = [seal(message(spec, c), spec, aggregator.deployment, aggregator.signing_key) for c in range(4)]
        with SpoolWriter([tmp_path] * 2, "up") as writer:
            places = [writer.write(sealed[:3]), writer.write(sealed[3:])]
        aggregator.open_round(spec)
        aggregator.submit(message(spec, 5))
        for place in places:
            aggregator.submit_spooled(place)
        aggregator.submit_spooled(places[0])  # the same again: refused by the parties
        with pytest.raises(MessageRefused, match="not of the same messages"):
            aggregator.submit_spooled([places[0][0], places[1][1]])
        result = aggregator.close()
        assert result.clients == {0, 1, 2, 3, 5}
        assert result.total.tolist() == [5, -10, 15]

        aggregator.open_round(RoundSpec("spooled", 2, 0, range(6), 3, 2, bits=12))
        aggregator.submit_spooled([SpooledParts("gone.0", 0, (10,)), SpooledParts("gone.1", 0, (10,))])
        with pytest.raises(PartyFailure, match="in the spool cannot be read"):
            aggregator.close()


def test_a_party_without_a_spool_says_so(parties):
    parties.open_round(RoundSpec("no spool", 1, 0, range(2), 3, 1))
    parties.submit_spooled([SpooledParts(f"up.{party}", 0, (10,)) for party in range(3)])
    with pytest.raises(PartyFailure, match="has no spool"):
        parties.close()
