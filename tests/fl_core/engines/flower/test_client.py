"""A client's node goes by its own terms: other questions are refused, and its errors tell nothing of its data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fl_core.adapters import flat_adapter
from fl_core.engines.flower import sealing
from fl_core.engines.flower.client import ClientNode, ClientSettings
from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN, Refusal, take, terms_of
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy
from secagg.errors import SottoError
from secagg.sharing import combine, expand
from tests.fl_core.engines.flower.nodes import flower_config
from tests.fl_core.tiny import tiny_task

ADDRESSES = [("127.0.0.1", 7000 + rank) for rank in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("deployment")
    create_deployment(made, ADDRESSES, Policy())
    return made


def node_of(folder, config, build=tiny_task, clients=(2,)):
    return ClientNode(ClientSettings(config, folder / "parties.yaml", folder, clients), build)


def question(node, config, **changes):
    theta = flat_adapter(tiny_task(config).model).numpy().astype("<f4").tobytes()
    terms = node.answer(HELLO, {})["terms"]
    facts = {"terms": terms, "run": "r", "round": 1, "attempt": 0, "clients": [2], "theta": theta, "clip_norm": 0.0}
    return {**facts, **changes}


def test_a_good_question_is_answered_with_parts_for_every_party(folder):
    config = flower_config()
    node = node_of(folder, config)
    assert sorted(node.answer(TRAIN, question(node, config))) == ["2.0", "2.1", "2.2"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"terms": "0" * 64}, "another configuration or deployment"),
        ({"clients": [1]}, r"clients \[1\] are asked for; this node has \[2\]"),
        ({"clients": [2, 2]}, "are asked for"),
        ({"clients": 2}, "clients is int; allowed: list"),
        ({"round": 0}, "round 0 is asked for; the run has rounds 1 to 3"),
        ({"round": 4}, "round 4 is asked for"),
        ({"round": True}, "round is bool; allowed: int"),
        ({"attempt": -1}, "attempt"),
        ({"theta": b"\0" * 8}, "an adapter of 8 bytes; this model's has"),
        ({"theta": None}, "theta is NoneType; allowed: bytes"),
        ({"run": 3}, "run is int; allowed: str"),
    ],
)
def test_any_other_question_is_refused_in_a_sentence(folder, changes, sentence):
    config = flower_config()
    node = node_of(folder, config)
    answer = node.answer(TRAIN, question(node, config, **changes))
    assert list(answer) == ["refused"]
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(answer["refused"])


def test_an_adapter_or_a_norm_that_is_no_number_is_refused(folder):
    config = flower_config("privacy.clipping=adaptive")
    node = node_of(folder, config)
    good = question(node, config, clip_norm=1.0)
    nan = np.full(len(good["theta"]) // 4, np.nan, "<f4").tobytes()
    assert "not finite" in node.answer(TRAIN, {**good, "theta": nan})["refused"]
    for norm in (0.0, -1.0, float("inf"), float("nan")):
        assert "clip_norm" in node.answer(TRAIN, {**good, "clip_norm": norm})["refused"]
    assert "2.0" in node.answer(TRAIN, good)


def test_an_error_about_the_data_stays_in_the_nodes_own_log(folder, caplog):
    def build(config):
        raise SottoError("record 42 of patient Smith is damaged")

    config = flower_config()
    node = node_of(folder, config, build)
    answer = node.answer(TRAIN, question(node, config))
    assert answer == {"refused": "the node could not compute its messages; its own log says why"}
    assert "patient Smith" in caplog.text


@pytest.mark.parametrize("unit", ["example", "client"])
def test_whether_records_can_be_computed_on_is_told_to_nobody(folder, caplog, unit):
    """Whether it fails depends on the records and on an adapter that the server chose: one bit of them, un-noised."""
    config = flower_config(f"privacy.unit={unit}", "federation.sample_rate=1")
    whole = node_of(folder, config)
    good = whole.answer(TRAIN, question(whole, config))

    def build(config):
        task = tiny_task(config)
        looked = iter(range(3))  # lets the look at the model pass, which comes first and is the same in every round

        def batch(records):
            if next(looked, None) is None:
                raise ValueError("record 42 of patient Smith overflows")
            return task.batch(records)

        return dataclasses.replace(task, batch=batch)

    broken = node_of(folder, config, build)
    answers = [broken.answer(TRAIN, question(broken, config)) for _ in range(4)]
    assert "patient Smith" in caplog.text
    for answer in answers:
        assert {name: len(part) for name, part in answer.items()} == {name: len(part) for name, part in good.items()}


@pytest.mark.parametrize(
    ("unit", "looks"),
    [("example", "fl_core.gradients.private_gradient"), ("client", "fl_core.gradients.client_gradients")],
)
def test_the_look_for_mixed_records_is_at_the_models_own_adapter_and_never_at_one_that_is_sent(
    folder, monkeypatch, unit, looks
):
    config = flower_config(f"privacy.unit={unit}", "federation.sample_rate=1")
    seen = []
    monkeypatch.setattr(f"{looks}.refuse_mixing", lambda model, inputs, gradient: seen.append(flat_adapter(model)))
    node = node_of(folder, config)
    for scale in (1.0, 1e6):
        theta = np.full(len(flat_adapter(tiny_task(config).model)), scale, "<f4").tobytes()
        assert "2.0" in node.answer(TRAIN, question(node, config, theta=theta))
    assert len(seen) == 1
    assert seen[0].equal(flat_adapter(tiny_task(config).model))


def test_a_client_with_a_key_of_its_own_answers_no_more_often_than_it_agreed(tmp_path):
    keys = new_keys("client-2")
    create_deployment(tmp_path, ADDRESSES, Policy(), {2: keys.public, 3: b"\1" * 32})
    keys.write(tmp_path / "client-2")
    config = flower_config("aggregation.retries=1")  # three rounds
    for number in range(6):  # a process a message
        node = node_of(tmp_path, config)
        names = {"run": f"r{number % 2}", "round": 1 + number // 2, "attempt": number}
        assert "2.0" in node.answer(TRAIN, question(node, config, **names))
        assert "refused" in node.answer(TRAIN, question(node, config, round=7)), "a refusal is not counted"
    assert "agreed to 6 (flower.answers)" in node.answer(TRAIN, question(node, config, run="new"))["refused"]
    more = flower_config("aggregation.retries=1", "flower.answers=7")
    node = node_of(tmp_path, more)
    assert "2.0" in node.answer(TRAIN, question(node, more))
    assert "agreed to 7" in node.answer(TRAIN, question(node, more))["refused"]
    other = flower_config("aggregation.retries=1", "privacy.clip_norm=2")
    node = node_of(tmp_path, other)
    assert "2.0" in node.answer(TRAIN, question(node, other)), "its owner agreed to another configuration"


def test_a_client_is_no_aggregator(folder):
    assert "does not answer" in node_of(folder, flower_config()).answer(RELAY, {})["refused"]


def test_a_client_that_the_run_does_not_have_or_without_its_key_is_refused_at_start(folder, tmp_path):
    with pytest.raises(SottoError, match="client 4 is none of the 4"):
        node_of(folder, flower_config(), clients=(4,))
    create_deployment(tmp_path / "own", ADDRESSES, Policy(), {2: new_keys("client-2").public, 3: b"\1" * 32})
    with pytest.raises(SottoError, match="client-2/signing-key.pem does not exist"):
        node_of(tmp_path / "own", flower_config())


def test_randomness_is_fresh_for_every_answer_unless_seeded(folder):
    config = flower_config("privacy.insecure_seed=null")
    node = node_of(folder, config)
    one, two = (node.answer(TRAIN, question(node, config)) for _ in range(2))
    assert one["2.1"] != two["2.1"]
    assert one["2.0"][-64:] != two["2.0"][-64:]


@pytest.mark.parametrize("changes", [{}, {"run": "another"}])
def test_no_coin_noise_or_share_comes_twice_whatever_is_asked_of_one_process(folder, monkeypatch, changes):
    """Two sums with the same noise would have a difference without any."""
    keys, messages = [], []
    honest = sealing.noisy_message

    def watched(spec, client, vector, noise, parties, own):
        keys.append(own.export_key())
        messages.append(honest(spec, client, vector, noise, parties, own))
        return messages[-1]

    monkeypatch.setattr(sealing, "noisy_message", watched)
    config = flower_config("privacy.insecure_seed=null", "federation.sample_rate=1")
    node = node_of(folder, config)
    for more in ({}, changes):
        node.answer(TRAIN, question(node, config, **more))
    assert keys[0] != keys[1]
    one, two = (message.shares for message in messages)
    assert one.seeds != two.seeds
    vectors = [
        combine([own.body, *(expand(seed, len(own.body), own.bits) for seed in own.seeds)], own.bits)
        for own in (one, two)
    ]
    assert not np.array_equal(*vectors)


def test_terms_cover_everything_but_how_each_side_uses_its_machine():
    config = flower_config()
    same = ["engine.batch_size=7", "flower.timeout_s=3", "aggregation.timeout_s=9", "aggregation.deployment=x"]
    other = ["privacy.clip_norm=2", "privacy.insecure_seed=2", "federation.sample_rate=1", "aggregation.retries=9"]
    digest = b"\0" * 32
    assert {terms_of(flower_config(change), digest) for change in same} == {terms_of(config, digest)}
    assert len({terms_of(flower_config(change), digest) for change in other} | {terms_of(config, digest)}) == 5
    assert terms_of(config, b"\1" * 32) != terms_of(config, digest)
    real = flower_config("privacy.insecure_seed=null")
    assert terms_of(flower_config("privacy.insecure_seed=null", "privacy.budget=x"), digest) == terms_of(real, digest)


def test_a_value_is_of_its_type_or_refused():
    assert take({"a": 1}, "a", int) == 1
    for value in (True, 1.0, "1", None):
        with pytest.raises(Refusal):
            take({"a": value}, "a", int)
