"""`sotto party` as operators use it: keys, cards, one file for all, a daemon; one sentence for every mistake."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from secagg.deployment.checks import fingerprint
from secagg.deployment.parties_file import load_deployment

THREE = ["--address", "127.0.0.1:7000", "--address", "localhost:7001", "--address", "[::1]:7002"]


@pytest.fixture
def made(sotto, tmp_path):
    """A folder with everything of three parties and a dealer."""
    folder = tmp_path / "made"
    code, _, err = sotto("party", "init", folder, *THREE, "--dealer", "dealer.example:7009", "--n-min", 3)
    assert (code, err) == (0, "")
    return folder


@pytest.fixture
def started(monkeypatch):
    """What the daemons' functions were called with, instead of running them."""
    calls = []

    def daemon(*arguments):
        calls.append(arguments)

    monkeypatch.setitem(sys.modules, "secagg.party.daemon", SimpleNamespace(run_daemon=daemon))
    monkeypatch.setitem(sys.modules, "secagg.party.dealer_daemon", SimpleNamespace(run_dealer=daemon))
    return calls


def test_show_prints_what_members_compare(sotto, made):
    deployment = load_deployment(made / "parties.yaml")
    code, out, _ = sotto("party", "show", made / "parties.yaml")
    assert code == 0
    assert out.splitlines()[0] == f"deployment  {deployment.digest.hex()}"
    for peer in (*deployment.parties, deployment.dealer):
        assert peer.address in out
        assert fingerprint(peer.certificate) in out
        assert peer.sealing_key.hex() in out
    assert fingerprint(deployment.coordinator) in out
    assert deployment.enrolment.cohort.hex() in out
    assert "the n_min of each round" in out


def test_show_as_json_is_one_object(sotto, made):
    _, out, _ = sotto("party", "show", made / "parties.yaml", "--json")
    facts = json.loads(out)
    assert facts["deployment"] == load_deployment(made / "parties.yaml").digest.hex()
    assert facts["policy"]["n_min"] == 3
    assert facts["parties"][2]["address"] == "[::1]:7002"


def test_show_counts_enrolled_clients(sotto, tmp_path):
    (tmp_path / "roster.yaml").write_text(f"1: {'a1' * 32}\n2: {'a2' * 32}\n")
    sotto("party", "init", tmp_path / "x", *THREE, "--clients-roster", tmp_path / "roster.yaml")
    _, out, _ = sotto("party", "show", tmp_path / "x" / "parties.yaml")
    assert "clients: 2 enrolled, each with a key of its own" in out
    assert "dealer" not in out


def test_a_party_is_started_from_its_folder_beside_the_file(sotto, made, started):
    config = made / "parties.yaml"
    assert sotto("party", "--rank", 1, "--config", config)[0] == 0
    (call,) = started
    assert call[:5] == (config, 1, made / "party-1", made / "party-1" / "journal", None)


def test_a_partys_folders_can_be_elsewhere(sotto, made, started, tmp_path):
    (made / "party-2").rename(tmp_path / "keys")
    options = ["--keys", tmp_path / "keys", "--journal", tmp_path / "journal"]
    assert sotto("party", "--rank", 2, "--config", made / "parties.yaml", *options)[0] == 0
    assert started[0][1:5] == (2, tmp_path / "keys", tmp_path / "journal", None)


def test_a_party_can_listen_on_another_address(sotto, made, started):
    assert sotto("party", "--rank", 0, "--config", made / "parties.yaml", "--listen", "127.0.0.1:0")[0] == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert sotto("party", "--rank", 0, "--config", made / "parties.yaml", "--listen", f"0.0.0.0:{port}")[0] == 0
    with socket.socket(fileno=started[0][4]) as listening, socket.create_connection(("127.0.0.1", port), 5):
        assert listening.getsockname() == ("0.0.0.0", port)


def test_the_dealer_is_started_from_its_folder_beside_the_file(sotto, made, started):
    assert sotto("party", "dealer", "--config", made / "parties.yaml")[0] == 0
    assert started[0][:3] == (made / "parties.yaml", made / "dealer", None)


def test_a_daemon_with_anothers_keys_is_not_started(mistake, made, started):
    config = made / "parties.yaml"
    assert "is not the certificate of party 1" in mistake(
        "party", "--rank", 1, "--config", config, "--keys", made / "party-0"
    )
    assert "is not the certificate of the dealer" in mistake(
        "party", "dealer", "--config", config, "--keys", made / "coordinator"
    )
    assert "no party 3 in this deployment" in mistake(
        "party", "--rank", 3, "--config", config, "--keys", made / "party-0"
    )
    (made / "party-0" / "sealing-key.pem").chmod(0o644)
    assert "can be used by others (mode 644)" in mistake("party", "--rank", 0, "--config", config)
    assert not started


def test_a_taken_address_is_told(mistake, made, started):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sentence = mistake("party", "--rank", 0, "--config", made / "parties.yaml", "--listen", address)
    assert sentence.startswith(f"--listen {address} cannot be listened on")
    assert not started


def test_a_dealer_that_there_is_none_of_is_not_started(sotto, mistake, tmp_path, started):
    sotto("party", "init", tmp_path / "x", *THREE)
    assert "no dealer" in mistake("party", "dealer", "--config", tmp_path / "x" / "parties.yaml")
    assert not started


@pytest.mark.slow
def test_the_command_becomes_a_party_that_listens(sotto, tmp_path):
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    sotto("party", "init", tmp_path / "x", *(text for port in ports for text in ("--address", f"127.0.0.1:{port}")))
    config = tmp_path / "x" / "parties.yaml"
    command = [sys.executable, "-m", "experiments.cli", "party", "--rank", "1", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "listens" in process.stdout.readline()
        socket.create_connection(("127.0.0.1", ports[1]), 5).close()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "FOLDER/none.yaml"], "FOLDER/none.yaml does not exist"),
        (["dealer", "--config", "FOLDER/none.yaml"], "FOLDER/none.yaml does not exist"),
        ([], "--rank is missing; give the rank of the party to run"),
        (["--rank", "0", "--config", "FOLDER/none.yaml"], "FOLDER/none.yaml does not exist"),
        (["--rank", "0", "show", "FOLDER/none.yaml"], "options of `sotto party show` come after its name"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(mistake, tmp_path, arguments, sentence):
    folder = tmp_path / "new"
    given = [argument.replace("FOLDER", str(folder)) for argument in arguments]
    assert mistake("party", *given).replace(str(folder), "FOLDER").startswith(sentence)
    assert not folder.exists()
