"""What a party opened is on the disk before anything is revealed, and a damaged journal is never read."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from secagg.messages import RoundSpec
from secagg.openings import OpeningRefused
from secagg.party.journal import Journal, JournalError

OPEN_AND_DIE = """
import os, signal, sys
from pathlib import Path
from secagg.messages import RoundSpec
from secagg.party.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.refused("something", round=7)
journal.open(RoundSpec("run", 7, 0, range(9), 3, 2, model="m"), range(9))
os.kill(os.getpid(), signal.SIGKILL)
"""


def _spec(round_=1, attempt=0, model="m"):
    return RoundSpec("run", round_, attempt, range(100), length=3, n_min=5, model=model)


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def three_openings(path):
    with Journal(path) as journal:
        for number in (1, 2, 3):
            journal.open(_spec(number, model=f"m{number}"), [1, 2, 3, 7, 8])
    return path


def test_a_new_journal_is_empty_and_its_owners_alone(path):
    with Journal(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == b""


def test_openings_are_public_facts_with_clients_as_ranges(path):
    with Journal(path) as journal:
        journal.open(_spec(4, 2), frozenset([1, 2, 3, 7, 8]))
    (line,) = _lines(path)
    assert set(line) == {"time", "kind", "run", "round", "attempt", "model", "clients", "chain"}
    assert line["kind"] == "opened"
    assert (line["run"], line["round"], line["attempt"], line["model"]) == ("run", 4, 2, "m")
    assert line["clients"] == [[1, 4], [7, 9]]


def test_a_party_that_starts_again_opens_nothing_twice(three_openings):
    with Journal(three_openings) as journal:
        with pytest.raises(OpeningRefused, match="round 2 attempt 0 .* was opened before"):
            journal.openings.refuse_again(_spec(2))
        with pytest.raises(OpeningRefused, match="was opened before"):
            journal.open(_spec(2), [1, 2])
        with pytest.raises(OpeningRefused, match="differ by 1 "):
            journal.openings.refuse_close_sets(_spec(2, 1, "m2"), [1, 2, 3, 7])
        journal.open(_spec(2, 1, "m2"), [1, 2, 3, 7, 8])
    with Journal(three_openings) as journal, pytest.raises(OpeningRefused):
        journal.openings.refuse_again(_spec(2, 1))


def test_a_killed_party_remembers_what_it_opened(path):
    died = subprocess.run([sys.executable, "-c", OPEN_AND_DIE, str(path)], env={**os.environ, "PYTHONPATH": _root()})
    assert died.returncode == -signal.SIGKILL
    with Journal(path) as journal, pytest.raises(OpeningRefused):
        journal.openings.refuse_again(_spec(7))


def test_an_opening_is_synced_whole_before_open_returns(path, monkeypatch):
    synced = []
    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, path.read_bytes())))
        journal.refused("a reason")
        assert not synced
        journal.open(_spec(), range(9))
        assert synced == [(path.stat().st_ino, path.read_bytes())]
        assert synced[0][1].endswith(b"\n")


def test_the_folder_is_synced_before_anything_can_be_opened(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with Journal(path):
        assert path.parent.stat().st_ino in synced


def test_two_parties_never_share_a_journal(path):
    with Journal(path), pytest.raises(JournalError, match="in use by another party"):
        Journal(path)
    Journal(path).close()


def test_a_journal_that_was_refused_is_let_go(three_openings):
    whole = three_openings.read_bytes()
    three_openings.write_bytes(b"nonsense\n")
    with pytest.raises(JournalError):
        Journal(three_openings)
    three_openings.write_bytes(whole)
    Journal(three_openings).close()


@pytest.mark.parametrize("left", [1, 50, -1])
def test_a_torn_last_line_is_cut_off_and_the_rest_is_kept(three_openings, caplog, left):
    lines = three_openings.read_bytes().splitlines(keepends=True)
    three_openings.write_bytes(lines[0] + lines[1] + lines[2][:left])
    with caplog.at_level(logging.WARNING), Journal(three_openings) as journal:
        assert "torn line" in caplog.text
        assert three_openings.read_bytes() == lines[0] + lines[1]
        journal.openings.refuse_again(_spec(3))
        journal.open(_spec(4), range(9))
    with Journal(three_openings) as journal:
        for number in (1, 2, 4):
            with pytest.raises(OpeningRefused):
                journal.openings.refuse_again(_spec(number))


def test_a_line_of_zeros_as_a_crash_may_leave_it_is_cut_off(three_openings):
    whole = three_openings.read_bytes()
    three_openings.write_bytes(whole + bytes(300))
    Journal(three_openings).close()
    assert three_openings.read_bytes() == whole


def test_every_changed_byte_is_noticed(three_openings):
    whole = three_openings.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        three_openings.write_bytes(changed)
        with pytest.raises(JournalError, match="damaged or edited"):
            Journal(three_openings)


@pytest.mark.parametrize(
    "edit", [lambda a: a[1:], lambda a: [a[0], a[2]], lambda a: [a[1], a[0], a[2]], lambda a: a * 2]
)
def test_missing_swapped_and_repeated_lines_are_noticed(three_openings, edit):
    lines = three_openings.read_bytes().splitlines(keepends=True)
    three_openings.write_bytes(b"".join(edit(lines)))
    with pytest.raises(JournalError, match="line [0-9] of the journal .* was damaged or edited"):
        Journal(three_openings)


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"null\n", b"\xff\xfe\n", b"x" * 200 + b"\n"])
def test_lines_that_are_no_records_are_noticed(path, line):
    path.write_bytes(line)
    with pytest.raises(JournalError, match="line 1 "):
        Journal(path)


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "opened"},
        {"kind": "opened", "run": "run", "round": True, "attempt": 0, "model": "m", "clients": [[1, 2]]},
        {"kind": "opened", "run": "run", "round": 1, "attempt": 0, "model": None, "clients": [[1, 2]]},
        {"kind": "opened", "run": "run", "round": 1, "attempt": 0, "model": "m", "clients": [[2, 1]]},
        [],
    ],
)
def test_records_that_a_journal_cannot_have_written_are_refused_even_in_a_whole_chain(path, record, monkeypatch):
    with Journal(path) as journal:
        journal._write({}, synced=False)
    import secagg.party.journal as module

    body = json.dumps(record, separators=(",", ":")).encode()
    if not isinstance(record, dict):
        body = b"[}"
    path.write_bytes(body[:-1] + module._CHAIN.format(module._link(module._START, body)).encode())
    with pytest.raises(JournalError, match="line 1 "):
        Journal(path)


def test_an_opening_that_does_not_fit_on_the_disk_is_an_error_and_the_last(path):
    with Journal(path) as journal:
        journal.open(_spec(1), range(9))
        size = path.stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
        try:
            with pytest.raises(JournalError, match="cannot be written to: File too large"):
                journal.open(_spec(2), range(9))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.stat().st_size == size + 20
        with pytest.raises(JournalError, match="start the party again"):
            journal.open(_spec(3), range(9))
        with pytest.raises(OpeningRefused):
            journal.openings.refuse_again(_spec(2))
    with Journal(path) as journal:
        assert path.stat().st_size == size
        journal.open(_spec(3), range(9))


def test_an_opening_that_cannot_be_synced_is_an_error(path, monkeypatch):
    def fail(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(JournalError, match="Input/output error"):
            journal.open(_spec(), range(9))


def test_a_refusal_that_cannot_be_written_is_only_logged(path, caplog):
    with Journal(path) as journal:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3, limits[1]))
        try:
            journal.refused("a reason")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "cannot be written to" in caplog.text


def test_nothing_is_written_after_closing(path, caplog):
    journal = Journal(path)
    journal.close()
    journal.close()
    journal.refused("too late")
    with pytest.raises(JournalError):
        journal.open(_spec(), range(9))
    assert path.read_bytes() == b""


def test_refusals_say_why(path):
    with Journal(path) as journal:
        journal.refused("a part of 3 bytes,\ntoo short", round=4, client=None)
        journal.refused("idle", round=None)
    first, second = _lines(path)
    assert (first["kind"], first["reason"], first["round"]) == ("refused", "a part of 3 bytes,\ntoo short", 4)
    assert "client" not in first
    assert "round" not in second


def test_a_refusal_cannot_pass_for_an_opening(path):
    with Journal(path) as journal:
        journal.refused('"}\n{"kind":"opened"', kind="opened", run="run", attempt=0, model="m", round=1)
    assert _lines(path)[0]["kind"] == "refused"
    with Journal(path) as journal:
        journal.openings.refuse_again(_spec(1))


def test_a_flood_of_refusals_is_counted_and_not_written(path):
    now = [0.0]
    with Journal(path, clock=lambda: now[0]) as journal:
        for number in range(10**4):
            journal.refused("x" * 10**4, round=number)
        flooded = path.stat().st_size
        assert len(_lines(path)) == 100
        assert flooded < 100 * 1024  # long reasons are cut
        now[0] += 150
        for _ in range(10):
            journal.refused("later")
        assert [line["reason"] for line in _lines(path)[100:]] == ["and 9900 more", "later", "later"]
        journal.open(_spec(), range(9))
        assert [line.get("reason") for line in _lines(path)[103:]] == ["and 8 more", None]
        journal.refused("at the end")
    assert _lines(path)[-1]["reason"] == "and 1 more"
    Journal(path).close()


def test_waiting_for_long_earns_no_more_than_the_first_burst(path):
    now = [0.0]
    with Journal(path, clock=lambda: now[0]) as journal:
        now[0] = 1e9
        for _ in range(1000):
            journal.refused("a reason")
        assert len(_lines(path)) == 100


@pytest.mark.parametrize("kind", ["folder", "missing", "link", "pipe"])
def test_what_is_no_file_of_its_own_is_refused(tmp_path, kind):
    path = tmp_path / "journal"
    if kind == "folder":
        path.mkdir()
    elif kind == "missing":
        path = path / "deeper"
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    with pytest.raises(JournalError, match="the journal"):
        Journal(path)


def _root():
    return str(Path(__file__).parents[3])


@pytest.mark.parametrize("body", ["[" * 100_000, '{"kind":"opened","run":"r","round":1,"attempt":0,"model":"m",'
                                  f'"clients":[[0,{2**62}]]}}'])  # fmt: skip
def test_a_line_that_no_party_wrote_is_damage_whatever_it_says(tmp_path, body):
    line = body.encode()
    chain = hashlib.sha256(hashlib.sha256(b"sotto party journal, version 1\n").hexdigest().encode() + line).hexdigest()
    (tmp_path / "journal").write_bytes(line[:-1] + f',"chain":"{chain}"}}\n'.encode())
    with pytest.raises(JournalError, match="line 1 of the journal"):
        Journal(tmp_path / "journal")
