"""`parties.yaml`: what was written is read again, and every mistake in it is one sentence with the file and the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secagg.deployment import strict_yaml
from secagg.deployment.checks import DeploymentError
from secagg.deployment.new_keys import new_keys
from secagg.deployment.parties_file import load_deployment, read_roster, save_deployment
from secagg.deployment.strict_yaml import read_yaml, write_yaml
from secagg.deployment.terms import Deployment, Enrolment, Policy

PARTIES = tuple(new_keys(f"party-{rank}").peer(("127.0.0.1", 7000 + rank)) for rank in range(2))
COORDINATOR = new_keys("coordinator").certificate
DEALER = new_keys("dealer").peer(("::1", 7009))
COHORT = new_keys("cohort").public
DEPLOYMENT = Deployment(PARTIES, COORDINATOR, DEALER, Enrolment(COHORT), Policy(n_min=3, min_difference=2))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "parties.yaml"


def document():
    """The file's content as plain data."""
    return {
        "version": 1,
        "parties": [
            {
                "host": peer.host,
                "port": peer.port,
                "certificate": peer.certificate,
                "sealing_key": peer.sealing_key.hex(),
            }
            for peer in PARTIES
        ],
        "coordinator": COORDINATOR,
        "dealer": {"host": DEALER.host, "port": DEALER.port, "certificate": DEALER.certificate},
        "enrolment": {"cohort": COHORT.hex()},
        "policy": {"n_min": 3, "min_difference": 2},
    }


def refusal(path, read=load_deployment):
    with pytest.raises(DeploymentError) as caught:
        read(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return sentence.removeprefix(str(path)).removeprefix(": ").strip()


def test_what_a_hand_wrote_is_read(path):
    write_yaml(document(), path)
    assert load_deployment(path) == DEPLOYMENT


def test_what_is_left_out_is_the_default(path):
    write_yaml({key: value for key, value in document().items() if key not in ("dealer", "policy")}, path)
    found = load_deployment(path)
    assert found.dealer is None
    assert found.policy == Policy()


policies = st.builds(
    Policy,
    n_min=st.integers(1, 3),
    min_difference=st.none() | st.integers(1, 1000),
    timeout_s=st.floats(1e-5, 86_400, allow_nan=False),
    max_length=st.integers(1, 2**28),
    max_clients=st.integers(1000, 2**24),
)
rosters = st.dictionaries(
    st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), min_size=3, max_size=8
).filter(lambda found: len(set(found.values())) == len(found))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=policies, roster=rosters, dealt=st.booleans())
def test_what_was_saved_is_read_again(tmp_path, policy, roster, dealt):
    path = tmp_path / "again.yaml"
    path.unlink(missing_ok=True)
    deployment = Deployment(PARTIES, COORDINATOR, DEALER if dealt else None, Enrolment(roster=roster), policy)
    save_deployment(deployment, path)
    assert load_deployment(path) == deployment
    assert load_deployment(path).digest == deployment.digest


def test_a_file_that_exists_is_not_overwritten(path):
    path.write_text("precious")
    with pytest.raises(DeploymentError, match="exists and is not overwritten"):
        save_deployment(DEPLOYMENT, path)
    assert path.read_text() == "precious"


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(DeploymentError, match="cannot be written: No such file"):
        save_deployment(DEPLOYMENT, tmp_path / "nowhere" / "parties.yaml")


def test_a_full_disk_leaves_no_half_of_a_file(path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeploymentError, match="cannot be written: No space left"):
        save_deployment(DEPLOYMENT, path)
    assert not path.exists()


def edited(*keys, value):
    """The document with one value replaced, or removed if the value is `...`."""
    whole = document()
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return whole


BAD_VALUES = [
    (("version",), ..., "version is missing"),
    (("version",), 2, "version is 2; allowed: 1"),
    (("version",), "1", "version is '1'; allowed: 1"),
    (("version",), True, "version is True; allowed: 1"),
    (("parties",), ..., "parties is missing"),
    (("parties",), {}, "parties is a mapping; it must be a list, party 0 first"),
    (("parties",), [], "parties has 0 of them"),
    (("parties",), [7, 8], "parties[0] is a whole number; it must be a mapping"),
    (("parties", 1, "host"), ..., "parties[1].host is missing"),
    (("parties", 1, "host"), 7, "parties[1].host is 7; allowed: a host name or an IP address"),
    (("parties", 1, "hosts"), "x", "parties[1].hosts is an unknown key; did you mean host? allowed: host, port"),
    (("parties", 1, "port"), "x", "parties[1].port is 'x'; allowed: whole numbers"),
    (("parties", 1, "port"), 70000, "parties[1].port is 70000; allowed: 1 to 65535"),
    (("parties", 1, "port"), 7000, "parties[1] has the address 127.0.0.1:7000 of parties[0]"),
    (("parties", 0, "certificate"), "x", "parties[0].certificate is not a certificate"),
    (("parties", 0, "certificate"), None, "parties[0].certificate is not a certificate"),
    (("parties", 0, "certificate"), [], "parties[0].certificate is not a certificate"),
    (("parties", 0, "sealing_key"), ..., "parties[0].sealing_key is missing"),
    (("parties", 0, "sealing_key"), "ab", "parties[0].sealing_key is 'ab'; allowed: a public key as 64 hex digits"),
    (("parties", 0, "sealing_key"), "g" * 64, "parties[0].sealing_key is 'ggg"),
    (("parties", 0, "sealing_key"), "0" * 64, "parties[0].sealing_key is a point of small order"),
    (("parties", 0, "sealing_key"), 7, "parties[0].sealing_key is 7"),
    (("coordinator",), ..., "coordinator is missing"),
    (("coordinator",), "x", "coordinator is not a certificate"),
    (("coordinator",), {"certificate": COORDINATOR}, "coordinator is not a certificate"),
    (("coordinators",), "x", "coordinators is an unknown key; did you mean coordinator?"),
    (("dealer", "sealing_key"), COHORT.hex(), "dealer.sealing_key is an unknown key"),
    (("dealer",), "x", "dealer is text; it must be a mapping"),
    (("dealer",), False, "dealer is false; it must be a mapping"),
    (("enrolment",), ..., "enrolment is missing"),
    (("enrolment",), None, "enrolment is null; it must be a mapping"),
    (("enrolment",), {}, "enrolment: give either a cohort key or a roster"),
    (("enrolment", "cohort"), "x", "enrolment.cohort is 'x'; allowed: a public key"),
    (("enrolment", "roster"), {1: COHORT.hex()}, "enrolment: give either a cohort key or a roster"),
    (("enrolment", "roster"), [COHORT.hex()], "enrolment.roster is a list; it must be a mapping"),
    (("enrolment",), {"roster": {"a": COHORT.hex()}}, "enrolment: a client id of the roster is 'a'"),
    (("enrolment",), {"roster": {-1: COHORT.hex()}}, "enrolment: a client id of the roster is -1"),
    (("enrolment",), {"roster": {5: "x"}}, "client 5 is 'x'; allowed: a public key"),
    (("enrolment",), {"roster": {5: COHORT.hex(), 6: COHORT.hex()}}, "enrolment: roster.6 is the key of client 5 too"),
    (("enrolment",), {"roster": {5: COHORT.hex()}}, "the roster has 1 clients"),
    (("policy", "n_mim"), 2, "policy.n_mim is an unknown key; did you mean n_min?"),
    (("policy", "n_min"), "2", "policy.n_min is '2'; allowed: whole numbers"),
    (("policy", "n_min"), None, "policy.n_min is None; allowed: whole numbers"),
    (("policy", "timeout_s"), "1 min", "policy.timeout_s is '1 min'"),
    (("policy", "max_length"), 2**29, "policy.max_length is 536870912"),
    (("policy",), [], "policy is a list; it must be a mapping"),
    (("policy",), None, "policy is null; it must be a mapping"),
]


@pytest.mark.parametrize(("keys", "value", "sentence"), BAD_VALUES, ids=[sentence for *_, sentence in BAD_VALUES])
def test_a_wrong_value_is_told_with_its_key(path, keys, value, sentence):
    write_yaml(edited(*keys, value=value), path)
    assert refusal(path).startswith(sentence)


BAD_TEXTS = [
    ("", "holds null; it must be a mapping"),
    ("just text", "holds text; it must be a mapping"),
    ("- 1\n- 2\n", "holds a list; it must be a mapping"),
    ("a: [1, 2", "is not valid YAML"),
    ("a: 1\n b: 2\n", "is not valid YAML"),
    ("a: 1\n\ta: 2\n", "is not valid YAML"),
    ("a: \x07", "is not valid YAML"),
    ("version: 1\nversion: 1\n", "line 2: version is given twice"),
    ("policy: {n_min: 2, n_min: 5}\n", "line 1: n_min is given twice"),
    ("enrolment:\n  roster:\n    1: a\n    1: b\n", "line 4: 1 is given twice"),
    ("'\x1b[2J': 1\n'\x1b[2J': 1\n", "is not valid YAML"),
    ('"\\e[2J": 1\n"\\e[2J": 1\n', "line 2: '\\x1b[2J' is given twice"),
    ('"\\e[2J": 1\n', "'\\x1b[2J' is an unknown key"),
    ("a: &x 1\nb: *x\n", "line 1: anchors, aliases and tags are not read"),
    ("a: *x\n", "line 1: anchors, aliases and tags are not read"),
    ("<<: {version: 1}\n", "<< is an unknown key"),
    ("a: !!python/object/apply:os.system [true]\n", "line 1: anchors, aliases and tags are not read"),
    ("!!map {a: 1}\n", "line 1: anchors, aliases and tags are not read"),
    ("a: 1\n---\na: 2\n", "line 2: a second document begins"),
    ("a: " + "[" * 7 + "]" * 7, "line 1: nested more than 6 levels deep"),
    ("a: " + "[" * 100_000, "line 1: nested more than 6 levels deep"),
    ("{a: 1}: 2\n", "line 1: a key is a mapping"),
    ("true: 2\n", "line 1: a key is true"),
    ("1.5: 2\n", "line 1: a key is a decimal number"),
    ("x: |\n  -----BEGIN PRIVATE KEY-----\n", "holds a private key; allowed: public keys and certificates"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_TEXTS)
def test_a_text_that_is_not_plain_yaml_is_told_with_its_line(path, text, sentence):
    path.write_text(text)
    found = refusal(path)
    # "<<" and control characters are shown as their author cannot have meant them.
    assert sentence.replace("<<", "'<<'") in found or sentence in found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("0", 0), ("0x10", "0x10"), ("010", "010"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("yes", "yes"), ("on", "on"), ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("1.5", 1.5), ("1.0e-05", 1e-5), (".5", ".5"), ("1e5", "1e5"), (".inf", ".inf"), (".nan", ".nan"),
        ("2026-01-01", "2026-01-01"), ("'7'", "7"), ('"true"', "true"), ("9" * 30, "9" * 30), ("=", "="),
    ],
)  # fmt: skip
def test_plain_values_mean_one_thing(path, text, value):
    path.write_text(f"a: {text}\n")
    found = read_yaml(path)["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_missing_file_is_told(path):
    assert refusal(path) == "does not exist"


def test_a_folder_is_no_file(tmp_path):
    assert refusal(tmp_path) == "cannot be read: Is a directory"


def test_bytes_that_are_no_text_are_told(path):
    path.write_bytes(b"a: \xff\n")
    assert refusal(path) == "is not text in UTF-8"


def test_a_huge_file_is_not_read(path, monkeypatch):
    monkeypatch.setattr(strict_yaml, "MAX_BYTES", 2**20)
    path.write_bytes(b"#" * (2**20 + 1))
    assert refusal(path) == "is larger than 1 MiB, the most that is read"


def damaged():
    """Texts near the real one: pieces of it cut out, doubled or replaced."""
    text = "version: 1\npolicy: {n_min: 2}\nparties:\n- host: a\n  port: 7\nenrolment:\n  roster:\n    1: 'ab'\n"
    at = st.integers(0, len(text))
    return st.builds(
        lambda start, end, new: text[:start] + new + text[end:], at, at, st.text(max_size=8)
    )  # overlaps repeat a piece


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | damaged() | st.binary(max_size=60))
def test_no_text_brings_anything_but_a_sentence(tmp_path, text):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    assert refusal(path)


def test_a_roster_is_read(tmp_path):
    path = tmp_path / "roster.yaml"
    path.write_text(f"7: {'07' * 32}\n12: '{'1c' * 32}'\n")
    assert read_roster(path) == {7: b"\x07" * 32, 12: b"\x1c" * 32}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{}", "give either a cohort key or a roster"),
        ("7: x", "client 7 is 'x'"),
        ("x: " + "07" * 32, "a client id of the roster is 'x'"),
        (f"1: {'07' * 32}\n2: {'07' * 32}\n", "roster.2 is the key of client 1 too"),
        ("[", "is not valid YAML"),
    ],
)
def test_a_wrong_roster_is_told(tmp_path, text, sentence):
    path = Path(tmp_path / "roster.yaml")
    path.write_text(text)
    assert refusal(path, read_roster).startswith(sentence)
