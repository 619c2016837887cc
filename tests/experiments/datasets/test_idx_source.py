"""Four files of a published set are read where they are the published ones, and never replaced by another source."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from experiments.datasets import DatasetCorrupt, DatasetMissing, idx_source
from experiments.datasets.hub import HubUnavailable
from experiments.datasets.idx_source import IdxSource
from secagg.errors import SottoError

IMAGES = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)


def pack(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


CONTENT = [pack(IMAGES), pack(LABELS), pack(IMAGES[:2]), pack(LABELS[:2])]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Four small files whose md5 the source knows, in a folder named by SOTTO_DATA; the hub is off-line."""
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "small"
    folder.mkdir()
    for file, content in zip(IdxSource.FILES, CONTENT, strict=True):
        (folder / file).write_bytes(content)
    md5 = tuple(hashlib.md5(content).hexdigest() for content in CONTENT)
    return IdxSource(name="small", folder="small", hub="nobody/small", md5=md5, classes=3)


def test_files_with_the_published_md5_are_read(source):
    data = source.load()
    assert data.source == "SOTTO_DATA"
    np.testing.assert_array_equal(data.train_x[:, 0] * 255, IMAGES)
    np.testing.assert_array_equal(data.train_y, LABELS)
    assert (data.train_x.dtype, data.train_y.dtype) == (np.float32, np.int64)
    assert source.describe().present
    assert source.describe().checksums_ok is True


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b"", lambda b: b[:30] + b"x" + b[31:]])
def test_a_damaged_file_is_refused_with_both_checksums_and_the_hub_is_not_asked(source, tmp_path, damage, monkeypatch):
    monkeypatch.setattr(idx_source, "load_hub_split", lambda *_: pytest.fail("fell back to the hub"))
    path = tmp_path / "small" / IdxSource.FILES[2]
    path.write_bytes(damage(CONTENT[2]))
    (tmp_path / "small" / IdxSource.FILES[0]).unlink()  # even when another file is missing
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(DatasetCorrupt) as caught:
        source.load()
    sentence = str(caught.value)
    assert all(part in sentence for part in (str(path), source.md5[2], found))
    assert source.describe().checksums_ok is False


def test_a_missing_file_offline_is_one_sentence_with_file_folder_and_variable(source, tmp_path):
    (tmp_path / "small" / IdxSource.FILES[1]).unlink()
    with pytest.raises(DatasetMissing) as caught:
        source.load()
    sentence = str(caught.value)
    assert all(part in sentence for part in (IdxSource.FILES[1], str(tmp_path / "small"), "SOTTO_DATA"))
    assert "\n" not in sentence
    assert isinstance(caught.value, SottoError)
    assert not source.describe().present


def test_a_folder_in_a_files_place_is_an_error_and_not_a_missing_file(source, tmp_path):
    path = tmp_path / "small" / IdxSource.FILES[3]
    path.unlink()
    path.mkdir()
    with pytest.raises(SottoError, match="cannot be read"):
        source.load()


def test_what_is_missing_comes_from_the_hub_and_says_so(source, tmp_path, monkeypatch):
    (tmp_path / "small" / IdxSource.FILES[0]).unlink()
    splits = {"train": (IMAGES, LABELS), "test": (IMAGES[:2], LABELS[:2])}
    monkeypatch.setattr(idx_source, "load_hub_split", lambda repository, split: splits[split])
    data = source.load()
    assert data.source == "hub"
    np.testing.assert_array_equal(data.train_y, LABELS)


def test_the_hubs_reason_reaches_the_sentence(source, tmp_path, monkeypatch):
    def refuse(repository: str, split: str) -> None:
        raise HubUnavailable("no connection to example.org")

    (tmp_path / "small" / IdxSource.FILES[0]).unlink()
    monkeypatch.setattr(idx_source, "load_hub_split", refuse)
    with pytest.raises(DatasetMissing, match="no connection to example.org"):
        source.load()
