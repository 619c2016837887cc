"""The search for secrets finds each that is planted, in every encoding, and none in the product."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from bench.leaks.allowed import allowed
from bench.leaks.page import leaks_page
from bench.leaks.search import KEY_ENCODINGS, TEXT_ENCODINGS, VECTOR_ENCODINGS, Found, Index, Secret
from tests.bench.processes import found_in

KEY = bytes(range(131, 163))
FLOATS, STEPS = (0.12345678, -1.9876543, 2.3456789), (40123, -50321, 60777)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the search says of each planted leak, and of the product as it is."""
    return found_in("tests.bench.leaks.plants", tmp_path_factory.mktemp("leaks"))


@pytest.mark.parametrize(
    ("plant", "kind", "place"),
    [
        ("planted", "keys of noise", "/output/small.err"),
        ("planted", "keys of noise", "/proc/small.environ"),
        ("planted", "keys of noise", "/copies/small-"),
        ("planted", "clients' un-noised vectors", "/reprs/small"),
        ("planted", "clients' un-noised vectors", "/run-small/checkpoints/extra.bin"),
        ("keys", "private keys", "/deployment/note.txt"),
    ],
)
def test_a_planted_leak_is_found(found, plant, kind, place):
    finds = [(each["kind"], each["place"]) for each in found[plant]["found"]]
    assert any(kind in what and where.startswith(place) for what, where in finds), finds


def test_a_key_file_that_others_can_read_is_found(found):
    assert found["keys"]["wrong"] == ["sealing-key.pem has mode 644 in a folder of mode 700"]


def test_nothing_is_found_in_a_run_of_the_product_as_it_is_and_the_search_was_not_blind(found):
    clean = found["clean"]
    assert (clean["found"], clean["wrong"]) == ([], [])
    assert clean["control"] > 0
    assert clean["secrets"]["seeds of masks and noise"] >= 16
    assert clean["secrets"]["clients' un-noised vectors"] >= 8
    assert clean["searched"]["printed objects"] > 1000
    assert clean["searched"]["command lines and environments"] > 100


def finds(secret, content):
    index = Index()
    index.add([Secret("it", secret)])
    return {each.encoding for each in index.search(b"xyz" * 11 + content + b" and so on", "here")}


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("raw", KEY[3:20]),
        ("hex", KEY.hex().encode()),
        ("HEX", KEY.hex().upper().encode()),
        ("base64 or PEM", base64.b64encode(b"0" * 16 + KEY)),
        ("base64url", base64.urlsafe_b64encode(b"0" + KEY)),
        ("Python repr", repr(KEY).encode()),
        ("JSON escapes", json.dumps(KEY.decode("latin-1")).encode()),
        ("decimal bytes", str(list(KEY)).encode()),
        ("64-bit numbers", str(np.frombuffer(KEY, "<i8").tolist()).encode()),
        ("one number", str(int.from_bytes(KEY, "big")).encode()),
    ],
)
def test_a_key_is_found_in_every_encoding(encoding, written):
    assert encoding in KEY_ENCODINGS
    assert encoding in finds(KEY, written)
    assert not finds(bytes(32), written)


@pytest.mark.parametrize(
    ("encoding", "value", "written"),
    [
        ("int64", STEPS, np.array(STEPS, "<i8").tobytes()),
        ("int64 big-endian", STEPS, np.array(STEPS, ">i8").tobytes()),
        ("int32", STEPS, np.array(STEPS, "<i4").tobytes()),
        ("float32", STEPS, np.array(STEPS, "<f4").tobytes()),
        ("float64", FLOATS, np.array(FLOATS).tobytes()),
        ("decimal", STEPS, repr(list(STEPS)).encode()),
        ("decimal", FLOATS, json.dumps(FLOATS, indent=4).encode()),
        ("decimal with points", STEPS, b"tensor([ 40123., -50321.,  60777.])".replace(b",  ", b", ")),
        ("four decimals", FLOATS, b"tensor([0.1235, -1.9877, 2.3457])"),
    ],
)
def test_a_vector_is_found_by_three_neighbours(encoding, value, written):
    assert encoding in VECTOR_ENCODINGS
    assert encoding in finds(value, written)
    assert not finds((1.5, 2.5, 3.5), written)


@pytest.mark.parametrize("encoding", TEXT_ENCODINGS)
def test_a_text_is_found_in_every_encoding(encoding):
    text = 'a private "sentence" of Zoë'
    coded = {
        "UTF-8": text.encode(), "UTF-16": text.encode("utf-16"), "hex": text.encode().hex().encode(),
        "base64 or PEM": base64.b64encode(b"x" + text.encode()), "JSON escapes": json.dumps([text]).encode(),
    }  # fmt: skip
    assert encoding in finds(text, coded[encoding])


def test_only_a_named_kind_in_a_named_place_is_allowed():
    key = "private keys of clients and members"
    assert allowed(Found(key, "raw", "/deployment/party-0/tls-key.pem", 0)) is not None
    assert allowed(Found(key, "raw", "/run-plain/metrics.jsonl", 0)) is None
    assert allowed(Found("clients' un-noised vectors", "int64", "/deployment/party-0/tls-key.pem", 0)) is None


def test_a_page_shows_what_was_found_and_where():
    find = {"kind": "private records", "encoding": "float32", "place": "/run-x/metrics.jsonl", "offset": 3}
    row = {
        "what": "One run.", "lives": 1, "secrets": {"private records": 3}, "searched": {"run folders": 1000},
        "found": [find], "allowed": [], "control": 4, "wrong": ["it ended with 1"],
    }  # fmt: skip
    page = leaks_page({"environment": ["here"], "command": "python -m bench.leaks", "rows": {"one": row}})
    assert "| private records | 3 | int64" in page
    assert "| 1 | nowhere |" in page
    assert "/run-x/metrics.jsonl" in page
    assert "it ended with 1" in page
