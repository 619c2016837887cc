"""A last line that a cut power left torn is mended, and nothing else ever is."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_core.privacy.ledger import Ledger, LedgerError, read_ledger
from tests.fl_core.privacy.ledgers import opening


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
