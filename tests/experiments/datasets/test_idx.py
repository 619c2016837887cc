"""An idx file is read as it was packed, or refused in a sentence that names it."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.datasets.errors import DatasetCorrupt
from experiments.datasets.idx import parse_idx


def pack(array: np.ndarray, kind: int = 8, cut: int = 0, extra: bytes = b"") -> bytes:
    header = struct.pack(">HBB", 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = header + array.tobytes() + extra
    return gzip.compress(raw[: len(raw) - cut], mtime=0)


@given(arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 3))))
def test_images_come_back_as_they_were_packed(images):
    parsed = parse_idx(pack(images), "images.gz", 3)
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, images)


def test_labels_have_one_dimension():
    np.testing.assert_array_equal(parse_idx(pack(np.arange(7, dtype=np.uint8)), "labels.gz", 1), np.arange(7))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"not gzip at all",
        pack(np.zeros((2, 3, 3), np.uint8))[:-12],  # truncated download
        pack(np.zeros((2, 3, 3), np.uint8), cut=1),
        pack(np.zeros((2, 3, 3), np.uint8), extra=b"\0"),
        pack(np.zeros((2, 3, 3), np.uint8), kind=13),  # floats
        pack(np.zeros(4, np.uint8)),  # labels where images belong
        gzip.compress(b"\0\0", mtime=0),
        gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), mtime=0),
    ],
)
def test_anything_else_is_refused_in_a_sentence_that_names_the_file(packed):
    with pytest.raises(DatasetCorrupt, match=r"images\.gz") as caught:
        parse_idx(packed, "images.gz", 3)
    assert "\n" not in str(caught.value)
