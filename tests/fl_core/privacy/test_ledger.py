"""The ledger under corruption, crashes, full disks and competition."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_core.privacy.ledger import Ledger, LedgerError, LedgerHeader, Opening, read_ledger
from secagg.errors import SottoError

HEADER = LedgerHeader(
    run="r1",
    unit="client",
    trust="distributed",
    mechanism="discrete_gaussian",
    neighbouring="zero_out",
    delta=1e-5,
    clip_norm=0.5,
    scale=2.0**20,
    dimension=100,
    clients=10,
    n_min=8,
    sample_rate=1.0,
    warnings=("a warning with a line\nbreak and an é",),
)


def opening(number, survivors=10, sigma_steps=2.0**19, **rest):
    z = sigma_steps * survivors**0.5 / 2.0**20
    return Opening(number, 0, survivors, "ab" * 32, z, sigma_steps, **rest)


def filled(path, count=4):
    with Ledger.create(path, HEADER) as ledger:
        heads = [(ledger.lines, ledger.head)] + [ledger.append(opening(i)) for i in range(count)]
    return path.read_bytes(), heads


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("written") / "ledger.jsonl")


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_end_is_named_and_a_forgotten_end_is_known_to_the_checkpoint(tmp_path, written, data):
    path = tmp_path / "ledger.jsonl"
    content, heads = written
    length = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:length])
    whole = content[:length].count(b"\n")
    with pytest.raises(LedgerError, match=f"line {whole + 1}: is (torn|missing)"):
        read_ledger(path, heads[-1])
    if content[:length].endswith(b"\n"):
        assert len(read_ledger(path).openings) == whole - 1
        with pytest.raises(LedgerError, match="is missing; there once were 5 lines"):
            Ledger.resume(path, heads[-1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_run_goes_on_after_a_torn_line_and_forgets_no_whole_one(tmp_path, written, data):
    path = tmp_path / "ledger.jsonl"
    content, heads = written
    length = data.draw(st.integers(content.index(b"\n") + 1, len(content)))
    path.write_bytes(content[:length])
    expected = content[:length].count(b"\n") + (content[length : length + 1] == b"\n")
    with Ledger.resume(path, heads[0]) as ledger:
        assert ledger.lines == expected
        assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:expected])
        ledger.append(opening(len(ledger.openings)))
    assert len(read_ledger(path).openings) == expected


def test_a_torn_line_that_the_checkpoint_remembers_is_refused_and_left_as_it_is(tmp_path, written):
    path = tmp_path / "ledger.jsonl"
    content, heads = written
    path.write_bytes(content[:-9])
    with pytest.raises(LedgerError, match="line 5: is missing; there once were 5 lines"):
        Ledger.resume(path, heads[-1])
    assert path.read_bytes() == content[:-9]


def test_resume_says_what_it_did_to_a_torn_line(tmp_path, written, caplog):
    path = tmp_path / "ledger.jsonl"
    content, _ = written
    path.write_bytes(content[:-9])
    Ledger.resume(path).close()
    assert "line 5: was torn, as when the power is cut, and was cut off" in caplog.text
    path.write_bytes(content[:-1])
    Ledger.resume(path).close()
    assert "line 5: had lost its newline, which was put back" in caplog.text
    assert path.read_bytes() == content


@pytest.mark.parametrize("kept", [0, 1, 40])
def test_a_torn_header_and_changed_lines_near_a_torn_end_are_refused(tmp_path, written, kept):
    path = tmp_path / "ledger.jsonl"
    content, _ = written
    path.write_bytes(content[:kept])
    with pytest.raises(LedgerError, match="line 1: is (torn|missing)"):
        Ledger.resume(path)
    for number, end in ((1, -9), (3, -1)):  # a line before a torn one; a last one without its newline
        changed = content.replace(b'"round":%d' % number, b'"round":9', 1)[:end]
        path.write_bytes(changed)
        with pytest.raises(LedgerError, match="was changed"):
            Ledger.resume(path)
        assert path.read_bytes() == changed


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


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf"), True, "1", None])
def test_what_is_no_finite_number_is_refused_without_a_crash(number):
    with pytest.raises(LedgerError, match=r"must be a finite number|must be at least 0"):
        replace(opening(0), noise_multiplier=number)


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
        "import os, sys\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_ledger import *\n"
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


ADDED = {1: ("noise_by", "noise_dropout", "aggregators", "aggregator_sigma", "components"), 2: ("data", "contribution")}


def old_format(content, version):
    """The same ledger as an earlier format had it, its chain made anew."""
    prev, lines = "0" * 64, []
    for line in content.splitlines():
        record = json.loads(line)
        if record["kind"] == "header":
            for key in (key for before, keys in ADDED.items() if before >= version for key in keys):
                del record["body"][key]
            record["body"]["version"] = version
        record["prev"] = prev
        del record["hash"]
        canonical = {"sort_keys": True, "separators": (",", ":")}
        prev = record["hash"] = hashlib.sha256(json.dumps(record, **canonical).encode()).hexdigest()
        lines.append(json.dumps(record, **canonical).encode() + b"\n")
    return b"".join(lines)


def test_a_ledger_of_format_1_is_read_and_continued_as_noise_by_clients(tmp_path):
    path = tmp_path / "ledger.jsonl"
    content, _ = filled(path)
    path.write_bytes(old_format(content, 1))
    with Ledger.resume(path) as ledger:
        assert ledger.header == HEADER
        ledger.append(opening(4))
    found = read_ledger(path)
    assert (found.header, len(found.openings)) == (HEADER, 5)


def test_a_ledger_of_format_2_is_read_and_continued_as_one_that_does_not_know_its_data(tmp_path):
    path = tmp_path / "ledger.jsonl"
    header = replace(HEADER, noise_by="aggregators", aggregators=3, aggregator_sigma=2.0**20)
    Ledger.create(path, replace(header, data="mnist", contribution="an image")).close()
    path.write_bytes(old_format(path.read_bytes(), 2))
    with Ledger.resume(path) as ledger:
        assert ledger.header == header
        assert (ledger.header.data, ledger.header.contribution) == ("", "")
        ledger.append(replace(opening(0), sigma_steps=0.0, noise_multiplier=1.0))
    assert read_ledger(path).head.lines == 2


@pytest.mark.parametrize(("version", "keys"), [(1, ADDED[2]), (1, ()), (2, ()), (2, ("data",)), (0, ()), (4, ())])
def test_a_header_that_mixes_formats_is_refused(tmp_path, version, keys):
    """`keys` of the header are missing, which a header of that version lacks all or none of."""
    path = tmp_path / "ledger.jsonl"
    filled(path)
    record = json.loads(path.read_bytes().splitlines()[0])
    del record["hash"]
    for key in keys:
        del record["body"][key]
    record["body"]["version"] = version
    canonical = {"sort_keys": True, "separators": (",", ":")}
    record["hash"] = hashlib.sha256(json.dumps(record, **canonical).encode()).hexdigest()
    path.write_bytes(json.dumps(record, **canonical).encode() + b"\n")
    says = "is not the header that belongs there" if keys else f"format version must be 3, not {version}"
    with pytest.raises(LedgerError, match=says):
        read_ledger(path)


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


def test_clients_that_add_no_noise_have_none_in_any_entry():
    header = replace(HEADER, noise_by="aggregators", aggregators=3, aggregator_sigma=2.0**20)
    replace(opening(0), sigma_steps=0.0, noise_multiplier=3**0.5).check_against(header)
    with pytest.raises(LedgerError, match="the noise of the aggregators only add up"):
        replace(opening(0), sigma_steps=0.0, noise_multiplier=1.8).check_against(header)
    with pytest.raises(LedgerError, match="clients of this run add no noise"):
        replace(opening(0), sigma_steps=1.0, noise_multiplier=1.7).check_against(header)


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


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (HEADER, {"trust": "all"}),
        (HEADER, {"unit": "record"}),
        (HEADER, {"run": ""}),
        (HEADER, {"delta": 1.0}),
        (HEADER, {"delta": float("nan")}),
        (HEADER, {"clip_norm": 0}),
        (HEADER, {"clip_norm": float("inf")}),
        (HEADER, {"scale": None}),
        (HEADER, {"n_min": 11}),
        (HEADER, {"clients": True}),
        (HEADER, {"sample_rate": None}),
        (HEADER, {"sampling": "fixed"}),
        (HEADER, {"noise_source": "dice"}),
        (HEADER, {"simulation_noise": "some"}),
        (HEADER, {"target_epsilon": -1}),
        (HEADER, {"warnings": (1,)}),
        (HEADER, {"data": None}),
        (HEADER, {"contribution": 3}),
        (HEADER, {"version": 1}),
        (HEADER, {"noise_by": "server"}),
        (HEADER, {"noise_dropout": "none"}),
        (HEADER, {"noise_by": "aggregators"}),
        (HEADER, {"aggregators": 2, "aggregator_sigma": 9.0}),
        (HEADER, {"noise_by": "both", "aggregators": 2}),
        (HEADER, {"noise_by": "both", "aggregators": 2, "aggregator_sigma": -9.0}),
        (HEADER, {"noise_by": "both", "aggregators": 2, "aggregator_sigma": 9.0, "trust": "central"}),
        (
            HEADER,
            {"noise_by": "both", "aggregators": 2, "aggregator_sigma": 9.0, "scale": None, "mechanism": "gaussian"},
        ),
        (HEADER, {"noise_dropout": "xnoise"}),
        (HEADER, {"components": (9.0, 9.0, 9.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 3.0)}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 0.0), "mechanism": "skellam"}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, "9")}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 9.0), "mechanism": "gaussian"}),
        (HEADER, {"noise_dropout": "xnoise", "components": (9.0, 9.0, 9.0), "trust": "local"}),
        (opening(0), {"round": -1}),
        (opening(0), {"attempt": 1.0}),
        (opening(0), {"survivors": 0}),
        (opening(0), {"set_digest": "AB" * 32}),
        (opening(0), {"set_digest": "ab"}),
        (opening(0), {"noise_multiplier": float("nan")}),
        (opening(0), {"sigma_steps": "1"}),
        (opening(0), {"steps": 0}),
        (opening(0), {"note": None}),
    ],
)
def test_entries_are_checked_when_they_are_made(entry, change):
    with pytest.raises(LedgerError) as caught:
        replace(entry, **change)
    assert "\n" not in str(caught.value)
