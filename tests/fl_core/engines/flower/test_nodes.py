"""Nodes say who they are; they are waited for as long as the configuration says, and left out if they are strange."""

from __future__ import annotations

import pytest

from fl_core.engines.flower.exchange import HELLO, TRAIN
from secagg.errors import AggregationError
from tests.fl_core.engines.flower.nodes import (
    PatientRelay,
    Relay,
    aggregator_nodes,
    client_nodes,
    flower_config,
    run_rounds,
    survivors,
)

FIVE = {"clients": 5, "rounds": 3, "n_min": 3, "sample_rate": 0.5}


def test_a_node_that_comes_later_joins_in_the_round_after(tmp_path, aggregator):
    config = flower_config()
    nodes = client_nodes(config, aggregator)
    late = nodes.pop(103)
    relay = Relay(nodes)

    def change(node, kind, answer, facts):
        if kind == TRAIN and facts["round"] == 1:
            relay.all[103] = late
        return answer

    relay.change = change
    run_rounds(tmp_path / "run", config, aggregator, relay)
    assert survivors(tmp_path / "run") == [3, 3, 4]


def test_once_enough_clients_are_there_the_others_are_waited_for_briefly_and_join_later(tmp_path, aggregator):
    config = flower_config("flower.connect_s=200", "flower.settle_s=0.5", federation=FIVE)
    nodes = client_nodes(config, aggregator)
    soon, late = nodes.pop(103), nodes.pop(104)
    relay = PatientRelay(nodes, lambda number: relay.all.update({103: soon}) if number == 3 else None)

    def change(node, kind, answer, facts):
        if kind == TRAIN and facts["round"] == 1:
            relay.all[104] = late
        return answer

    relay.change = change
    notes = []
    run_rounds(tmp_path / "run", config, aggregator, relay, notes)
    assert relay.told, "nobody waited for connect_s"
    assert survivors(tmp_path / "run") == [4, 4, 5]
    assert notes == ["4 of 5 clients are there; who comes later joins in the round after"]


@pytest.mark.parametrize(("overrides", "clients"), [([], 2), (["flower.relay=aggregators"], 4)])
def test_too_few_clients_or_no_aggregator_node_are_waited_for_to_the_end(tmp_path, aggregator, overrides, clients):
    config = flower_config("flower.connect_s=1.5", "flower.settle_s=0.1", *overrides, federation=FIVE)
    nodes = list(client_nodes(config, aggregator).items())[:clients]
    relay = PatientRelay(nodes)
    with pytest.raises(AggregationError, match="within 1.5 s"):
        run_rounds(tmp_path / "run", config, aggregator, relay)
    assert not relay.told


def test_a_node_that_goes_is_not_waited_for(tmp_path, aggregator):
    config = flower_config()
    relay = Relay(client_nodes(config, aggregator))

    def change(node, kind, answer, facts):
        if kind == TRAIN and facts["round"] == 1:
            relay.all.pop(103, None)
        return answer

    relay.all = dict(sorted(relay.all.items(), reverse=True))
    relay.change = change
    run_rounds(tmp_path / "run", config, aggregator, relay)
    assert survivors(tmp_path / "run") == [4, 3, 3]
    assert not [1 for node, kind, facts in relay.asked if node == 103 and kind == TRAIN and facts["round"] > 1]


def test_too_few_clients_or_no_aggregator_node_is_a_sentence(tmp_path, aggregator):
    config = flower_config()
    with pytest.raises(AggregationError, match="nodes of 0 clients connected within 1 s; federation.n_min needs 3"):
        run_rounds(tmp_path / "none", config, aggregator, Relay({}))
    config = flower_config("flower.relay=aggregators")
    with pytest.raises(AggregationError, match="no aggregator node of party 0 and 1 and 2 came within 1 s"):
        run_rounds(tmp_path / "alone", config, aggregator, Relay(client_nodes(config, aggregator)))


def test_nodes_with_other_terms_or_strange_answers_are_left_out(tmp_path, aggregator):
    config = flower_config()
    other = client_nodes(flower_config("privacy.clip_norm=2"), aggregator)
    nodes = client_nodes(config, aggregator)
    nodes[103] = other[103]
    nodes[110] = type("Odd", (), {"answer": lambda self, kind, facts: {"role": 3}})()
    nodes[111] = type("Odd", (), {"answer": lambda self, kind, facts: None})()
    nodes[112] = nodes[102]
    notes = []
    run_rounds(tmp_path / "run", config, aggregator, Relay(nodes), notes)
    assert survivors(tmp_path / "run") == [3, 3, 3]
    assert any("another configuration" in note for note in notes)
    assert any("client 2 is claimed by two nodes" in note for note in notes)


def test_an_aggregator_node_of_another_deployment_or_of_a_party_that_there_is_not_is_left_out(
    tmp_path, aggregator, spool
):
    config = flower_config("flower.relay=aggregators", "federation.rounds=1")
    nodes = {**client_nodes(config, aggregator), **aggregator_nodes(aggregator, spool)}
    nodes |= dict.fromkeys((210, 211), nodes[201])
    wrong = {210: {"rank": 3}, 211: {"deployment": "0" * 64}}

    def change(node, kind, answer, facts):
        return {**answer, **wrong.get(node, {})} if kind == HELLO else answer

    notes = []
    run_rounds(tmp_path / "run", config, aggregator, Relay(nodes, change), notes)
    assert survivors(tmp_path / "run") == [4]
    assert notes == [
        "left out: an aggregator node of party 3, which the deployment does not have",
        "left out: an aggregator node of party 1 of another deployment",
    ]
