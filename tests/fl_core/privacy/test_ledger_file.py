"""The ledger under corruption, crashes, full disks and competition."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_core.privacy.ledger import Ledger, LedgerError, read_ledger
from secagg.errors import SottoError
from tests.fl_core.privacy.ledgers import HEADER, filled, opening


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "ledger.jsonl"
    content, heads = filled(path)
    found = read_ledger(path)
    assert found.header == HEADER
    assert found.openings == tuple(opening(i) for i in range(4))
    assert found.head == heads[-1] == (5, found.head.hash)
    records = [json.loads(line) for line in content.splitlines()]
    assert [record["seq"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["prev"] for record in records] == ["0" * 64, *(record["hash"] for record in records[:-1])]


def test_a_resumed_ledger_continues_the_chain(tmp_path):
    path = tmp_path / "ledger.jsonl"
    content, heads = filled(path)
    with Ledger.resume(path, heads[2]) as ledger:
        assert ledger.openings == tuple(opening(i) for i in range(4))
        assert (ledger.lines, ledger.head) == heads[-1]
        ledger.append(opening(4, survivors=8, note="late"))
        assert len(ledger.contents.openings) == 5
    assert path.read_bytes().startswith(content)
    assert read_ledger(path, heads[4]).openings[-1].note == "late"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found_and_its_line_named(tmp_path, written, data):
    path = tmp_path / "ledger.jsonl"
    content, _ = written
    at = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    path.write_bytes(content[:at] + bytes([new]) + content[at + 1 :])
    line = content[:at].count(b"\n") + 1
    with pytest.raises(LedgerError) as caught:
        read_ledger(path)
    assert str(caught.value).startswith(f"Ledger {path}, line {line}: ")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [b"1e5811", b"-1e400", b"NaN", b"Infinity"])
def test_a_number_that_is_not_finite_is_a_change_and_no_crash(tmp_path, written, number):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(written[0].replace(b"1.5811388300841898", number, 1))
    with pytest.raises(LedgerError, match="line 2: was changed: it has a number that is not finite"):
        read_ledger(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lines_that_are_missing_doubled_or_swapped_are_found(tmp_path, written, data):
    path = tmp_path / "ledger.jsonl"
    content, _ = written
    lines = content.splitlines(keepends=True)
    kept = data.draw(st.lists(st.integers(0, 4), max_size=7).filter(lambda order: order != list(range(len(order)))))
    path.write_bytes(b"".join(lines[i] for i in kept))
    wrong = next((k for k, i in enumerate(kept) if i != k), 0)
    with pytest.raises(LedgerError, match=f"line {wrong + 1}: "):
        read_ledger(path)


def test_a_rewritten_ledger_is_known_to_the_checkpoint(tmp_path):
    path = tmp_path / "ledger.jsonl"
    _, heads = filled(path)
    path.unlink()
    with Ledger.create(path, HEADER) as ledger:
        for i in range(9):
            ledger.append(opening(i, sigma_steps=2.0**21))
    read_ledger(path)
    with pytest.raises(LedgerError, match="line 3: is not the line that the checkpoint remembers"):
        read_ledger(path, heads[2])
    with pytest.raises(LedgerError, match="checkpoint"):
        read_ledger(path, (0, ""))


def test_the_line_is_on_disk_before_append_returns(tmp_path, monkeypatch):
    calls = []
    real_write, real_sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: (calls.append("write"), real_write(fd, data))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), real_sync(fd))[1])
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, HEADER) as ledger:
        assert calls == ["write", "fsync", "fsync"], "the last one is for the folder"
        calls.clear()
        ledger.append(opening(0))
        assert calls == ["write", "fsync"]
        assert len(read_ledger(path).openings) == 1


def test_a_process_that_dies_after_append_leaves_the_opening_behind(tmp_path):
    code = (
        "import os\n"
        "from tests.fl_core.privacy.ledgers import *\n"
        f"ledger = Ledger.create({str(tmp_path / 'ledger.jsonl')!r}, HEADER)\n"
        "ledger.append(opening(0)); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with Ledger.resume(tmp_path / "ledger.jsonl") as ledger:
        assert len(ledger.openings) == 1


@pytest.mark.parametrize("how", ["full", "short", "sync"])
def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path, monkeypatch, how):
    path = tmp_path / "ledger.jsonl"
    content, _ = filled(path)
    real_write, real_sync = os.write, os.fsync
    failures = iter([True])

    def broken_write(fd, data):
        if how == "short":
            return real_write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken_sync(fd):
        if next(failures, False):
            raise OSError(errno.EIO, "Input/output error")
        real_sync(fd)

    with Ledger.resume(path) as ledger:
        before = (ledger.lines, ledger.head)
        with monkeypatch.context() as patch:
            if how == "sync":
                patch.setattr(os, "fsync", broken_sync)
            else:
                patch.setattr(os, "write", broken_write)
            with pytest.raises(LedgerError, match="could not record an opening"):
                ledger.append(opening(4))
        assert path.read_bytes() == content
        assert (ledger.lines, ledger.head) == before
        ledger.append(opening(4))
    assert len(read_ledger(path).openings) == 5


def test_a_ledger_that_cannot_even_be_cut_back_takes_no_more_openings(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    filled(path)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    ledger = Ledger.resume(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(LedgerError, match="Input/output error"):
            ledger.append(opening(4))
    with pytest.raises(LedgerError, match="is closed"):
        ledger.append(opening(5))
    ledger.close()


def test_a_header_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(LedgerError, match="No space left"):
        Ledger.create(tmp_path / "ledger.jsonl", HEADER)
    assert not (tmp_path / "ledger.jsonl").exists()


def test_only_one_process_may_append(tmp_path):
    path = tmp_path / "ledger.jsonl"
    filled(path)
    code = f"from fl_core.privacy.ledger import Ledger; Ledger.resume({str(path)!r})"
    with Ledger.resume(path):
        with pytest.raises(LedgerError, match="in use by another process"):
            Ledger.resume(path)
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "in use by another process" in other.stderr
        read_ledger(path)
    Ledger.resume(path).close()


def test_a_ledger_that_others_touch_while_it_is_open_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    filled(path)
    with Ledger.resume(path) as ledger:
        with path.open("ab") as other:
            other.write(b"x")
        with pytest.raises(LedgerError, match="changed by someone else"):
            ledger.append(opening(4))
        path.unlink()
        with pytest.raises(LedgerError, match="is gone"):
            ledger.append(opening(4))


def test_files_that_are_in_the_way_or_not_there_are_sentences(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for act in (read_ledger, Ledger.resume):
        with pytest.raises(LedgerError, match="cannot be"):
            act(path)
        with pytest.raises(LedgerError, match="cannot be"):
            act(tmp_path)
    with pytest.raises(LedgerError, match="no regular file"):
        read_ledger("/dev/zero")  # which has no end
    with pytest.raises(LedgerError, match="cannot be created"):
        Ledger.create(tmp_path / "no" / "ledger.jsonl", HEADER)
    filled(path)
    with pytest.raises(LedgerError, match="already exists"):
        Ledger.create(path, HEADER)
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match="line 1: is missing"):
        read_ledger(path)
    with pytest.raises(SottoError):
        Ledger.resume(path)


def test_headers_with_noise_of_aggregators_and_in_components_are_read_back(tmp_path):
    path = tmp_path / "ledger.jsonl"
    header = replace(
        HEADER,
        noise_by="both",
        noise_dropout="xnoise",
        aggregators=3,
        aggregator_sigma=2.0**20,
        components=(2.0**18, 2.0**16, 2.0**17),
    )
    Ledger.create(path, header).close()
    assert read_ledger(path).header == header


def test_an_opening_that_does_not_fit_the_run_is_not_written(tmp_path):
    path = tmp_path / "ledger.jsonl"
    content, _ = filled(path)
    good = opening(4)
    with Ledger.resume(path) as ledger:
        for bad, says in (
            (opening(4, survivors=11), "above the 10 clients"),
            (opening(4, survivors=7), "below the minimum of 8"),
            (replace(good, noise_multiplier=good.noise_multiplier * 1.01), "only add up"),
            (replace(good, noise_multiplier=0.0), "above 0 under trust"),
        ):
            with pytest.raises(LedgerError, match=says):
                ledger.append(bad)
    assert path.read_bytes() == content
