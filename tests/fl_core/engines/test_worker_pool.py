"""Worker processes: the same bits whatever their number, and a sentence, never a hang, when one is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch

from fl_core.adapters import flat_adapter
from fl_core.engines import worker_pool
from fl_core.engines.cohort_request import CohortRequest, request_from_wire, request_to_wire
from fl_core.engines.message_source import RoundRequest
from fl_core.engines.worker_link import LinkBroken
from fl_core.engines.worker_pool import WorkerPool
from fl_core.privacy_plan import plan_privacy
from fl_core.tracking import read_metrics
from secagg import PlaintextAggregator
from secagg.errors import AggregationError, SottoError
from secagg.messages import RoundNoise, RoundSpec
from secagg.randomness import Keystream
from tests.fl_core.tiny import run_tiny, tiny_config, tiny_task


def config_with(*overrides):
    return tiny_config("federation.rounds=3", "engine.cohort_size=3", "engine.threads=1", *overrides)


def outcome(path, workers, overrides, aggregator=None):
    _, engine = run_tiny(path, config_with(f"engine.workers={workers}", *overrides), aggregator)
    rows = read_metrics(path / "metrics.jsonl")
    return engine.state.theta, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize(
    "overrides",
    [
        ["privacy.unit=client", "privacy.clipping=adaptive", "simulation.dropout=0.3", "federation.n_min=2"],
        ["simulation.noise=aggregate", "privacy.mechanism=skellam"],
        ["noise.dropout=xnoise", "simulation.dropout=0.3", "federation.n_min=2"],
        ["engine.cohort_size=8"],
    ],
    ids=["client", "aggregate", "xnoise", "more workers than cohorts"],
)
def test_the_number_of_workers_changes_no_bit_of_a_seeded_run(tmp_path, overrides):
    theta, rows = outcome(tmp_path / "one", 1, overrides)
    theirs, their_rows = outcome(tmp_path / "several", 2, overrides)
    assert torch.equal(theta, theirs)
    assert rows == their_rows


def test_workers_seal_what_the_parties_open_to_the_same_bits(parties, tmp_path):
    overrides = ["aggregation.backend=smpc", "simulation.dropout=0.3", "federation.n_min=2", "noise.dropout=xnoise"]
    found = [outcome(tmp_path / str(workers), workers, overrides, parties) for workers in (1, 2)]
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_round_that_was_given_up_leaves_nothing_for_the_next_and_a_killed_worker_is_a_sentence():
    config = config_with("engine.workers=2")
    task = tiny_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
    spec = RoundSpec("run", 1, 0, range(8), plan.length, 8, bits=plan.ring_bits)
    asked = CohortRequest(
        RoundRequest(spec, list(range(8)), flat_adapter(task.model), None, Keystream.seeded(1)), 1, None
    )
    with WorkerPool(task, config, plan, tiny_task) as pool:
        whole = [str(item) for item in pool.items(asked)]
        for item in pool.items(asked):
            assert str(item) == whole[0]
            break
        assert [str(item) for item in pool.items(asked)] == whole
        with pytest.raises(SottoError, match="belongs to a torch.distributed group already"):
            WorkerPool(task, config, plan, tiny_task)
        os.kill(pool.pids[1], signal.SIGKILL)
        with pytest.raises(AggregationError, match="worker 2 of 2 was killed by signal 9; .* can be resumed"):
            list(pool.items(asked))
    assert not torch.distributed.is_initialized()


def refusing_task(config):
    raise SottoError("data are not here")


def dying_task(config):
    os._exit(3)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [(refusing_task, "worker 1: data are not here"), (dying_task, "worker [12] of 2 ended with exit code 3")],
)
def test_a_worker_that_cannot_begin_is_a_sentence(build, sentence):
    config = config_with("engine.workers=2")
    task = tiny_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
    with pytest.raises(SottoError, match=sentence):
        WorkerPool(task, config, plan, build)


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [(True, "worker [12] of 2 was killed by signal 9"), (False, "the 2 workers did not come together: closed by peer")],
)
def test_a_group_that_breaks_while_it_forms_is_a_sentence(monkeypatch, ends, sentence):
    def broken(rank, workers, store):
        for process in multiprocessing.active_children() if ends else ():
            process.kill()
        raise LinkBroken("closed by peer")

    monkeypatch.setattr(worker_pool, "join", broken)
    monkeypatch.setattr(worker_pool, "_GRACE_S", 5.0 if ends else 0.1)
    config = config_with("engine.workers=2")
    task = tiny_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
    with pytest.raises(AggregationError, match=sentence):
        WorkerPool(task, config, plan, tiny_task)
    assert not multiprocessing.active_children()


def test_a_request_crosses_to_another_process_whole():
    noise = RoundNoise("skellam", 4.0, (5.0, 6.0))
    spec = RoundSpec("run", 3, 2, range(9), 4, 2, scale=8, bits=40, model="ab", noise=noise)
    theta = torch.tensor([1.5, -0.0, 3e-39, 7.0])
    asked = CohortRequest(RoundRequest(spec, [0, 2, 3], theta, 0.5, Keystream.seeded(4)), 3, None)
    header, payload = request_to_wire(asked)
    back = request_from_wire(header, memoryview(payload))
    assert back.round.spec == spec
    assert (back.round.present, back.round.clip_norm, back.parties, back.key_folder) == ([0, 2, 3], 0.5, 3, None)
    assert torch.equal(back.round.theta, theta)
    assert not back.round.stream.secure
    assert back.round.stream.child("client", 3).take(16) == Keystream.seeded(4).child("client", 3).take(16)


def test_plaintext_aggregation_refuses_what_it_cannot_open():
    from secagg.envelopes import SealedMessage

    aggregator = PlaintextAggregator()
    aggregator.open_round(RoundSpec("run", 1, 0, range(2), 4, 2))
    with pytest.raises(AggregationError, match="a sealed message"):
        aggregator.submit(SealedMessage((0,), (b"", b"")))
