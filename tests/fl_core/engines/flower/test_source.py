"""A round's messages from nodes: the local engine's bits, sealed parts only, and no fault that stops a run."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN
from fl_core.privacy.ledger import read_ledger
from fl_core.rounds import spec_of
from fl_core.tracking import read_metrics
from secagg.envelopes import part_bytes
from tests.fl_core.engines.flower.nodes import (
    Relay,
    aggregator_nodes,
    client_nodes,
    flower_config,
    run_rounds,
    survivors,
)


@pytest.mark.parametrize(
    "overrides",
    [
        ["engine.batch_size=3"],
        ["privacy.unit=client"],
        ["privacy.clipping=adaptive"],
        ["noise.dropout=xnoise", "simulation.dropout=0.15", "federation.rounds=4"],
        ["privacy.trust=local", "privacy.mechanism=skellam", "flower.nodes=2"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_the_adapter_has_the_local_engines_bits(tmp_path, aggregator, overrides):
    config = flower_config(*overrides)
    _, local = run_rounds(tmp_path / "local", config, aggregator)
    relay = Relay(client_nodes(config, aggregator))
    ended, flower = run_rounds(tmp_path / "flower", config, aggregator, relay)
    assert ended == "all rounds done"
    assert flower.state.theta.numpy().tobytes() == local.state.theta.numpy().tobytes()
    assert survivors(tmp_path / "flower") == survivors(tmp_path / "local")
    spent = [read_ledger(tmp_path / name / "ledger.jsonl").openings for name in ("flower", "local")]
    assert spent[0] == spent[1]


def test_the_serverapp_receives_sealed_parts_and_nothing_else(tmp_path, aggregator):
    config = flower_config("federation.rounds=2")
    relay = Relay(client_nodes(config, aggregator))
    _, loop = run_rounds(tmp_path / "run", config, aggregator, relay)
    hellos = [answer for _, kind, answer in relay.received if kind == HELLO]
    assert [sorted(answer) for answer in hellos] == [["clients", "role", "terms"]] * 4
    answers = [(node, answer) for node, kind, answer in relay.received if kind == TRAIN]
    assert len(answers) == 8
    spec = spec_of(config, loop.plan, loop.ledger.header.run, 1, 0, "0" * 64)
    for node, answer in answers:
        client = node - 100
        assert sorted(answer) == [f"{client}.{party}" for party in range(3)]
        assert all(type(part) is bytes for part in answer.values())
        # The length is a function of the round alone, whatever was sampled.
        assert [len(part) for part in answer.values()] == [
            part_bytes(spec, aggregator.deployment, party, client) for party in range(3)
        ]
    assert not any("simulation" in key for row in read_metrics(tmp_path / "run" / "metrics.jsonl") for key in row)


def test_silent_wrong_late_and_lying_nodes_are_left_out_and_counted(tmp_path, aggregator):
    config = flower_config(federation={"clients": 8, "rounds": 4, "n_min": 3, "sample_rate": 0.5})
    nodes = client_nodes(config, aggregator)
    first = {}

    def change(node, kind, answer, facts):
        if kind != TRAIN:
            return answer
        number = facts["round"]
        if node == 107:
            first.setdefault("answer", answer)
            return first["answer"]  # in rounds 2, 3, 4: the parts of round 1 again
        if number == 2:
            noise = {name: os.urandom(len(part)) for name, part in answer.items()}
            wrong = {100: None, 101: Relay.SILENT, 102: {**answer, "2.1": 7}, 103: noise}
            return wrong.get(node, answer)
        if number == 3:
            garbled = bytearray(answer.get("0.0", b"\0"))
            garbled[-1] ^= 1
            stolen = {f"1.{party}": first["answer"][f"7.{party}"] for party in range(3)}
            wrong = {100: {**answer, "0.0": bytes(garbled)}, 101: stolen, 102: {"refused": "no"}, 103: {}}
            return wrong.get(node, answer)
        return answer

    notes = []
    ended, _ = run_rounds(tmp_path / "run", config, aggregator, Relay(nodes, change), notes)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]
    assert ended == "all rounds done"
    assert [row["survivors"] for row in rows] == [8, 3, 3, 7]
    # Whoever was silent, broken or unwilling sent no message: 3 wrong ones in round 2, 4 in round 3, 1 in round 4.
    assert [row.get("refused", 0) for row in rows] == [0, 3, 4, 1]
    assert [opening.survivors for opening in read_ledger(tmp_path / "run" / "ledger.jsonl").openings] == [8, 3, 3, 7]
    assert any("client 2: an answer without a part for every party" in note for note in notes)


def test_too_few_messages_open_nothing_and_the_run_goes_on(tmp_path, aggregator):
    config = flower_config()

    def change(node, kind, answer, facts):
        return Relay.SILENT if kind == TRAIN and facts["round"] == 2 and node < 102 else answer

    run_rounds(tmp_path / "run", config, aggregator, Relay(client_nodes(config, aggregator), change))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]
    assert [row["survivors"] for row in rows] == [4, 0, 4]
    assert "n_min" in rows[1]["message"]
    assert len(read_ledger(tmp_path / "run" / "ledger.jsonl").openings) == 2


def test_a_party_killed_in_a_round_costs_an_attempt_with_fresh_randomness(tmp_path, aggregator):
    config = flower_config()
    attempts = []

    def change(node, kind, answer, facts):
        if kind == TRAIN and facts["round"] == 2:
            attempts.append((node, facts["attempt"], answer))
            if facts["attempt"] == 0 and node == 102:
                os.kill(aggregator.pids[1], 9)
        return answer

    ended, _ = run_rounds(tmp_path / "run", config, aggregator, Relay(client_nodes(config, aggregator), change))
    assert ended == "all rounds done"
    assert survivors(tmp_path / "run") == [4, 4, 4]
    assert {attempt for _, attempt, _ in attempts} == {0, 1}
    bodies = [answer["0.0"] for node, _, answer in attempts if node == 100]
    assert len(set(bodies)) == 2


def test_aggregator_nodes_bring_the_same_parts_to_the_parties(tmp_path, aggregator, spool):
    config = flower_config("flower.relay=aggregators")
    _, local = run_rounds(tmp_path / "local", config, aggregator)
    relay = Relay({**client_nodes(config, aggregator), **aggregator_nodes(aggregator, spool)})
    _, flower = run_rounds(tmp_path / "flower", config, aggregator, relay)
    assert flower.state.theta.numpy().tobytes() == local.state.theta.numpy().tobytes()
    assert len(list(spool.iterdir())) == 3, "files of earlier rounds are removed"


@pytest.mark.parametrize("fault", [None, {"refused": "the disk is full"}, {"taken": 2}, Relay.SILENT])
def test_an_aggregator_node_that_fails_costs_an_attempt(tmp_path, aggregator, spool, fault):
    config = flower_config("flower.relay=aggregators", "federation.rounds=2")
    failed = []

    def change(node, kind, answer, facts):
        if kind == RELAY and node == 201 and not failed:
            failed.append(facts["name"])
            return fault
        return answer

    relay = Relay({**client_nodes(config, aggregator), **aggregator_nodes(aggregator, spool)}, change)
    run_rounds(tmp_path / "run", config, aggregator, relay)
    assert failed
    assert survivors(tmp_path / "run") == [4, 4]
    assert [opening.survivors for opening in read_ledger(tmp_path / "run" / "ledger.jsonl").openings] == [4, 4]


def test_sums_are_of_all_clients_contributions(tmp_path, aggregator):
    """With no noise at all, what is opened is what the clients hold, summed in plain integers."""
    config = flower_config("privacy.trust=none", "privacy.noise_multiplier=null", "federation.rounds=1")
    sums = []
    relay = Relay(client_nodes(config, aggregator))

    class Watching:
        def __getattr__(self, name):
            return getattr(aggregator, name)

        def close(self, before):
            sums.append(aggregator.close(before))
            return sums[-1]

    run_rounds(tmp_path / "flower", config, Watching(), relay)
    run_rounds(tmp_path / "local", config, Watching())
    assert np.array_equal(sums[0].total, sums[1].total)
    assert np.abs(sums[0].total).max() > 0
