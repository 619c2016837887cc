"""Rows come back as the bits that were written, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.frozen_cache.row_file import Damaged, RowFile, file_size, write_rows

SHAPE = (40, 5, 7)


def rows(seed=0, shape=SHAPE):
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)  # NaNs and infinities among them
    return torch.from_numpy(bits.view(np.float32))


def written(path, key="k", made=None, parts=16):
    made = rows() if made is None else made
    with path.open("wb", buffering=0) as stream:
        write_rows(stream, key, tuple(made.shape), torch.split(made, parts))
    return made


def same_bits(one, two):
    return one.shape == two.shape and torch.equal(one.view(torch.int32), two.view(torch.int32))


@given(st.lists(st.integers(0, SHAPE[0] - 1), max_size=60), st.integers(1, 50))
def test_any_rows_in_any_order_are_the_bits_that_were_written(tmp_path_factory, numbers, parts):
    path = tmp_path_factory.mktemp("rows") / "file"
    made = written(path, parts=parts)
    assert path.stat().st_size == file_size(SHAPE)
    opened = RowFile(path, "k", SHAPE)
    index = np.array(numbers, np.int64)
    for _ in range(2):  # checked at first, and then known
        assert same_bits(opened.take(index), made[torch.from_numpy(index)])
    opened.close()


def test_what_is_taken_is_a_copy(tmp_path):
    made = written(tmp_path / "f")
    opened = RowFile(tmp_path / "f", "k", SHAPE)
    opened.take(np.array([3])).zero_()
    assert same_bits(opened.take(np.array([3])), made[3:4])


def test_a_file_that_takes_few_bytes_at_a_time_is_filled_all_the_same(tmp_path):
    class Slow:
        def __init__(self, stream):
            self.stream = stream

        def seek(self, place):
            return self.stream.seek(place)

        def write(self, content):
            return self.stream.write(content[:1000])

    with (tmp_path / "f").open("wb", buffering=0) as stream:
        write_rows(Slow(stream), "k", SHAPE, [rows()])
    assert same_bits(RowFile(tmp_path / "f", "k", SHAPE).take(np.arange(40)), rows())


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "header"),
        (lambda path: flip(path, 3), "header"),
        (lambda path: flip(path, -1), "header"),  # in the table of digests
        (lambda path: written(path, key="other"), "header"),
        (lambda path: written(path, made=rows(shape=(40, 7, 5))), "header"),
    ],
)
def test_another_file_is_refused_when_it_is_opened(tmp_path, damage, why):
    written(tmp_path / "f")
    damage(tmp_path / "f")
    with pytest.raises(Damaged, match=why) as caught:
        RowFile(tmp_path / "f", "k", SHAPE)
    assert caught.value.path == tmp_path / "f"


def test_a_changed_row_is_refused_when_it_is_read_and_the_others_are_not(tmp_path):
    made = written(tmp_path / "f")
    flip(tmp_path / "f", 4096 + 12 * 5 * 7 * 4 + 1)
    opened = RowFile(tmp_path / "f", "k", SHAPE)
    others = np.delete(np.arange(40), 12)
    assert same_bits(opened.take(others), made[torch.from_numpy(others)])
    with pytest.raises(Damaged, match="row 12 is not what was written"):
        opened.take(np.array([2, 12]))


def test_a_file_that_shrinks_while_it_is_open_is_refused_and_kills_nobody(tmp_path):
    written(tmp_path / "f")
    opened = RowFile(tmp_path / "f", "k", SHAPE)
    with (tmp_path / "f").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(Damaged, match="size has changed"):
        opened.take(np.array([39]))


def test_a_folder_a_link_or_another_users_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        RowFile(tmp_path / "folder", "k", SHAPE)
    written(tmp_path / "f")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with pytest.raises(OSError, match="symbolic links"):
        RowFile(tmp_path / "link", "k", SHAPE)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(Damaged, match="not a file of this user"):
        RowFile(tmp_path / "f", "k", SHAPE)
