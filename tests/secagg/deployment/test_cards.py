"""Cards: what was written is read again, mistakes are told, and a deployment is made of exactly the right ones."""

from __future__ import annotations

import pytest

from secagg.deployment.cards import (
    ClientCard,
    CohortCard,
    CoordinatorCard,
    DealerCard,
    PartyCard,
    assemble,
    load_card,
    save_card,
)
from secagg.deployment.checks import DeploymentError
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Enrolment, Policy

PARTIES = [PartyCard(rank, new_keys(f"party-{rank}").peer(("127.0.0.1", 7000 + rank))) for rank in range(3)]
COORDINATOR = CoordinatorCard(new_keys("coordinator").certificate)
DEALER = DealerCard(new_keys("dealer").peer(("127.0.0.1", 7009)))
COHORT = CohortCard(new_keys("cohort").public)
CLIENTS = [ClientCard(client, new_keys(f"client-{client}").public) for client in (8, 2, 5)]


@pytest.mark.parametrize("card", [PARTIES[1], COORDINATOR, DEALER, COHORT, CLIENTS[0]])
def test_what_was_saved_is_read_again(tmp_path, card):
    save_card(card, tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml") == card
    with pytest.raises(DeploymentError, match="exists and is not overwritten"):
        save_card(card, tmp_path / "card.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rank: 1", "card is None; allowed: party, coordinator, dealer, cohort, client"),
        ("card: king", "card is 'king'; allowed: party"),
        ("card: [party]", "card is a list; allowed: party"),
        ("card: party", "rank is missing"),
        ("card: party\nrank: x", "rank is 'x'; allowed: whole numbers"),
        ("card: party\nrank: 1", "party.host is missing"),
        ("card: dealer\nrank: 1", "dealer.rank is an unknown key"),
        ("card: coordinator", "certificate is missing"),
        ("card: coordinator\ncertificate: x", "certificate is not a certificate"),
        ("card: cohort\nkey: x", "key is 'x'; allowed: a public key"),
        ("card: cohort\nclient: 1\nkey: x", "client is an unknown key; allowed: key"),
        ("card: client\nkey: x", "client is missing"),
        ("card: client\nclient: 7", "key is missing"),
        ("card: client\nclient: -7\nkey: '" + "7" * 64 + "'", "client is -7; allowed: 0 to"),
        ("card: client\nclient: 7\nclient: 7", "line 3: client is given twice"),
        ("card: coordinator\ncertificate: '-----BEGIN PRIVATE KEY-----'", "holds a private key"),
    ],
)
def test_a_wrong_card_is_told(tmp_path, text, sentence):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(DeploymentError) as caught:
        load_card(path)
    assert str(caught.value).removeprefix(str(path)).lstrip(": ").startswith(sentence)


def test_cards_in_any_order_make_the_deployment():
    policy = Policy(n_min=3)
    found = assemble([PARTIES[2], DEALER, PARTIES[0], COORDINATOR, PARTIES[1], COHORT], policy)
    assert found.parties == tuple(card.peer for card in PARTIES)
    assert (found.coordinator, found.dealer) == (COORDINATOR.certificate, DEALER.peer)
    assert (found.enrolment, found.policy) == (Enrolment(COHORT.key), policy)


def test_clients_come_as_cards_and_in_a_roster():
    found = assemble([*PARTIES, COORDINATOR, *CLIENTS], Policy(), {1: b"1" * 32})
    assert found.enrolment == Enrolment(roster={1: b"1" * 32, **{card.client: card.key for card in CLIENTS}})
    assert found.dealer is None


@pytest.mark.parametrize(
    ("cards", "sentence"),
    [
        ([*PARTIES, COHORT], "0 cards of a coordinator are given; allowed: one"),
        ([*PARTIES, COORDINATOR, COORDINATOR, COHORT], "2 cards of a coordinator are given; allowed: one"),
        ([*PARTIES, COORDINATOR, COHORT, DEALER, DEALER], "2 cards of a dealer are given; allowed: at most one"),
        ([*PARTIES, COORDINATOR, COHORT, COHORT], "2 cards of a cohort are given; allowed: at most one"),
        ([*PARTIES, PARTIES[1], COORDINATOR, COHORT], "party 1 is given twice"),
        ([PARTIES[0], PARTIES[2], COORDINATOR, COHORT], "no card of party 1 is given, but one of party 2"),
        ([PARTIES[0], COORDINATOR, COHORT], "parties has 1 of them"),
        ([*PARTIES, COORDINATOR], "give either a cohort key or a roster"),
        ([*PARTIES, COORDINATOR, COHORT, *CLIENTS], "give either a cohort key or a roster"),
        ([*PARTIES, COORDINATOR, *CLIENTS, CLIENTS[0]], "client 8 is given twice"),
    ],
)
def test_missing_and_surplus_cards_are_told(cards, sentence):
    with pytest.raises(DeploymentError) as caught:
        assemble(cards, Policy())
    assert str(caught.value).startswith(sentence)


def test_a_client_both_on_a_card_and_in_the_roster_is_told():
    with pytest.raises(DeploymentError, match="client 5 is given twice"):
        assemble([*PARTIES, COORDINATOR, *CLIENTS], Policy(), {5: b"5" * 32})
