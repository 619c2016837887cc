"""`sotto party init` and `assemble`: keys of one machine or of many, one file for all, a sentence for every mistake."""

from __future__ import annotations

import subprocess
import sys

import pytest

from secagg.deployment.cards import load_card
from secagg.deployment.keys import load_coordinator_keys, load_dealer_keys, load_party_keys, load_signing_key
from secagg.deployment.parties_file import load_deployment
from secagg.deployment.terms import Policy

THREE = ["--address", "127.0.0.1:7000", "--address", "localhost:7001", "--address", "[::1]:7002"]
ONE = ["--address", "h.example:7000"]


@pytest.fixture
def made(sotto, tmp_path):
    """A folder with everything of three parties and a dealer."""
    folder = tmp_path / "made"
    code, _, err = sotto("party", "init", folder, *THREE, "--dealer", "dealer.example:7009", "--n-min", 3)
    assert (code, err) == (0, "")
    return folder


def test_one_operator_makes_everything(made):
    deployment = load_deployment(made / "parties.yaml")
    assert [peer.address for peer in deployment.parties] == ["127.0.0.1:7000", "localhost:7001", "[::1]:7002"]
    assert deployment.policy == Policy(n_min=3)
    for rank in range(3):
        load_party_keys(made / f"party-{rank}", deployment, rank)
    load_coordinator_keys(made / "coordinator", deployment)
    load_dealer_keys(made / "dealer", deployment)
    load_signing_key(made / "cohort", deployment)


def test_every_limit_can_be_set(sotto, tmp_path):
    limits = ["--n-min", 5, "--min-difference", 4, "--timeout", 2.5, "--max-length", 100, "--max-clients", 50]
    sotto("party", "init", tmp_path / "x", *THREE, *limits)
    assert load_deployment(tmp_path / "x" / "parties.yaml").policy == Policy(5, 4, 2.5, 100, 50)


def test_the_operator_is_told_what_the_folder_is_worth(sotto, tmp_path):
    _, out, _ = sotto("party", "init", tmp_path / "x", *THREE)
    assert "Whoever can read the whole folder can read every client's message" in out
    assert load_deployment(tmp_path / "x" / "parties.yaml").digest.hex() in out
    assert "PRIVATE" not in out


def member(sotto, tmp_path, name, *arguments):
    """One organisation on its own machine; its card."""
    home = tmp_path / name
    code, out, err = sotto("party", "init", home, *arguments)
    assert (code, err) == (0, "")
    assert "private, stays on this machine" in out
    (card,) = home.glob("*.yaml")
    assert "PRIVATE" not in card.read_text()
    return card


def test_organisations_join_cards_to_one_deployment(sotto, tmp_path):
    cards = [
        member(sotto, tmp_path, f"org{rank}", "--rank", rank, "--address", f"host{rank}.example:7000")
        for rank in range(3)
    ]
    cards.append(member(sotto, tmp_path, "dealer", "--role", "dealer", "--address", "dealer.example:7009"))
    cards += [member(sotto, tmp_path, f"c{id_}", "--role", "client", "--client", id_) for id_ in (4, 9)]
    coordinator = member(sotto, tmp_path, "coordinator", "--role", "coordinator")
    output = tmp_path / "parties.yaml"
    code, out, _ = sotto(
        "party", "assemble", *reversed(cards), "--coordinator", coordinator, "--output", output, "--n-min", 2
    )
    assert code == 0
    deployment = load_deployment(output)
    assert deployment.digest.hex() in out
    assert [peer.host for peer in deployment.parties] == [f"host{rank}.example" for rank in range(3)]
    assert sorted(deployment.enrolment.roster) == [4, 9]
    for rank in range(3):
        load_party_keys(tmp_path / f"org{rank}" / f"party-{rank}", deployment, rank)
    load_dealer_keys(tmp_path / "dealer" / "dealer", deployment)
    load_coordinator_keys(tmp_path / "coordinator" / "coordinator", deployment)
    load_signing_key(tmp_path / "c9" / "client-9", deployment, 9)


def test_clients_can_come_in_a_file(sotto, tmp_path):
    (tmp_path / "roster.yaml").write_text(f"1: {'a1' * 32}\n2: {'a2' * 32}\n")
    code, _, _ = sotto("party", "init", tmp_path / "x", *THREE, "--clients-roster", tmp_path / "roster.yaml")
    assert code == 0
    assert load_deployment(tmp_path / "x" / "parties.yaml").enrolment.roster == {1: b"\xa1" * 32, 2: b"\xa2" * 32}
    assert not (tmp_path / "x" / "cohort").exists()


def test_keys_are_not_made_twice(mistake, made):
    before = {path: path.read_bytes() for path in made.rglob("*.*") if path.is_file()}
    assert "exists and is not overwritten" in mistake("party", "init", made, *THREE)
    assert {path: path.read_bytes() for path in made.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("left", ["party-1", "party-1.yaml"])
def test_a_members_keys_are_not_made_twice(sotto, mistake, tmp_path, left):
    sotto("party", "init", tmp_path, "--rank", 1, *ONE)
    (tmp_path / "party-1.yaml").unlink() if left == "party-1" else (tmp_path / "party-1").rename(tmp_path / "away")
    assert f"{left} exists and is not overwritten" in mistake("party", "init", tmp_path, "--rank", 1, *ONE)
    assert (tmp_path / "party-1").exists() == (left == "party-1")


def test_cards_in_each_others_place_are_told(sotto, mistake, tmp_path):
    party = member(sotto, tmp_path, "a", "--rank", 0, *ONE)
    coordinator = member(sotto, tmp_path, "b", "--role", "coordinator")
    assert "another member's card" in mistake("party", "assemble", coordinator, "--coordinator", party)
    assert "give it with --coordinator" in mistake("party", "assemble", coordinator, "--coordinator", coordinator)
    assert load_card(party).rank == 0


def test_an_assembled_file_is_not_overwritten(sotto, mistake, tmp_path):
    cards = [member(sotto, tmp_path, f"o{k}", "--rank", k, "--address", f"h{k}.example:1") for k in range(2)]
    cards.append(member(sotto, tmp_path, "cohort", "--role", "cohort"))
    coordinator = member(sotto, tmp_path, "c", "--role", "coordinator")
    (tmp_path / "out.yaml").write_text("precious")
    arguments = [*cards, "--coordinator", coordinator, "--output", tmp_path / "out.yaml"]
    assert "out.yaml exists and is not overwritten" in mistake("party", "assemble", *arguments)
    assert (tmp_path / "out.yaml").read_text() == "precious"


def test_making_keys_waits_for_no_heavy_library(tmp_path):
    script = (
        "import sys; from experiments.cli import main\n"
        f"sys.argv = ['sotto', 'party', 'init', {str(tmp_path / 'x')!r}, *{THREE!r}]\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "assert not {'torch', 'crypten'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)
    assert (tmp_path / "x" / "parties.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["init", "FOLDER"], "--address is given 0 times; allowed: once for each of 2 or more parties"),
        (["init", "FOLDER", *ONE], "--address is given 1 times"),
        (["init", "FOLDER", "--address", "h"], "--address is 'h'; allowed: host:port"),
        (["init", "FOLDER", *ONE, *ONE], "parties[1] has the address h.example:7000 of parties[0]"),
        (["init", "FOLDER", *THREE, "--dealer", "x"], "--dealer is 'x'; allowed: host:port"),
        (["init", "FOLDER", *THREE, "--n-min", "0"], "n_min is 0"),
        (["init", "FOLDER", *THREE, "--timeout", "nan"], "timeout_s is not a number"),
        (["init", "FOLDER", *THREE, "--client", "7"], "--client goes with --role client"),
        (["init", "FOLDER", *THREE, "--clients-roster", "FOLDER/none.yaml"], "FOLDER/none.yaml does not exist"),
        (["init", "FOLDER", "--rank", "1"], "--address is given 0 times for a party; allowed: once"),
        (["init", "FOLDER", "--rank", "1", *THREE], "--address is given 3 times for a party; allowed: once"),
        (["init", "FOLDER", "--rank", "1", *ONE, "--n-min", "3"], "--n-min is not one member's to say"),
        (["init", "FOLDER", "--rank", "1", *ONE, "--timeout", "3"], "--timeout is not one member's to say"),
        (["init", "FOLDER", "--rank", "1", *ONE, "--dealer", "h:1"], "--dealer is not one member's to say"),
        (["init", "FOLDER", "--role", "party", *ONE], "--rank is missing for a party"),
        (["init", "FOLDER", "--role", "coordinator", *ONE], "--address is given 1 times for a coordinator"),
        (["init", "FOLDER", "--role", "coordinator", "--rank", "0"], "--rank is not for a coordinator"),
        (["init", "FOLDER", "--role", "client"], "--client is missing for a client"),
        (["init", "FOLDER", "--role", "cohort", "--client", "3"], "--client is not for a cohort"),
        (["init", "FOLDER", "--role", "king"], "Invalid value for '--role'"),
        (["init", "FOLDER", "--rank", "-1", *ONE], "Invalid value for '--rank'"),
        (["init"], "Missing argument 'FOLDER'"),
        (["assemble", "FOLDER/a.yaml"], "Missing option '--coordinator'"),
        (["assemble", "FOLDER/a.yaml", "--coordinator", "FOLDER/b.yaml"], "FOLDER/b.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(mistake, tmp_path, arguments, sentence):
    folder = tmp_path / "new"
    given = [argument.replace("FOLDER", str(folder)) for argument in arguments]
    assert mistake("party", *given).replace(str(folder), "FOLDER").startswith(sentence)
    assert not folder.exists()
