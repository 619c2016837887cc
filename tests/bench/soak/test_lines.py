"""A growing file is read line by line, each once; sentences of one kind are one."""

from __future__ import annotations

from bench.soak.lines import GrowingFile, without_numbers


def test_each_whole_line_is_read_once(tmp_path):
    path = tmp_path / "log"
    log = GrowingFile(path)
    assert log.new_lines() == []
    path.write_text("one\nZoë\nha")
    assert log.new_lines() == ["one", "Zoë"]
    assert log.new_lines() == []
    with path.open("a") as file:
        file.write("lf\n")
    assert log.new_lines() == ["half"]


def test_sentences_that_differ_in_numbers_alone_are_one():
    assert without_numbers("party 2 of 3 was silent for 1.5 s") == "party N of N was silent for N s"
