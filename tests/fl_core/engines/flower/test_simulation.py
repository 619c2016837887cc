"""Flower's simulation engine ends when the ServerApp's work has, or when it is told to, whatever its clients do."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fl_core.tracking import read_metrics
from secagg.smpc import SmpcAggregator
from tests.fl_core.engines.flower.nodes import flower_config, run_rounds
from tests.fl_core.tiny import tiny_task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("flwr", "ray")), reason="Flower or Ray is not installed"
    ),
]

ROOT = Path(__file__).resolve().parents[4]
BY_ITSELF = (
    "import sys; from tests.fl_core.engines.flower.test_simulation import never, run; run(sys.argv[1], never, 600)"
)


def never(config):
    time.sleep(10**6)


def never_of_client_3(config):
    task = tiny_task(config)

    class Records(tuple):
        def __getitem__(self, client):
            return never(config) if client == 3 else super().__getitem__(client)

    return replace(task, clients=Records(task.clients))


def run(folder, build_task, timeout_s):
    """One round of four clients that build their task so; returns why the run ended."""
    from fl_core.engines.flower.simulation import Simulated, simulate

    config = flower_config("federation.rounds=1", "flower.connect_s=120", f"flower.timeout_s={timeout_s}")
    with SmpcAggregator(3, 30.0) as aggregator:
        keys = Path(aggregator.members.daemons.folder)

        def work(relay):
            return run_rounds(Path(folder) / "run", config, aggregator, relay)

        return simulate(Simulated(config, keys, None, build_task), work)[0]


def test_a_client_that_never_answers_does_not_keep_a_run_that_is_over(tmp_path):
    assert run(tmp_path, never_of_client_3, 20) == "all rounds done"
    row = read_metrics(tmp_path / "run" / "metrics.jsonl")[1]
    assert row["survivors"] == 3 or os.cpu_count() == 1  # a single actor may ask that client first


def test_clients_that_never_answer_do_not_keep_a_run_that_is_interrupted(tmp_path):
    ran = subprocess.Popen([sys.executable, "-c", BY_ITSELF, tmp_path], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text()):  # written before the first round
            assert ran.poll() is None, ran.stderr.read()
            time.sleep(0.2)
        time.sleep(5)
        ran.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in ran.communicate(timeout=120)[1]
    finally:
        ran.kill()
