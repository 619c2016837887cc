"""Flower's simulation engine ends when the ServerApp's work has, or when it is told to, whatever its clients do."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl_core.tracking import read_metrics
from secagg.smpc import SmpcAggregator
from tests.fl_core.flower.nodes import flower_config, run_rounds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("flwr", "ray")), reason="Flower or Ray is not installed"
    ),
]

ROOT = Path(__file__).resolve().parents[3]
BY_ITSELF = "import sys; from tests.fl_core.flower.test_simulation import stuck_run; stuck_run(sys.argv[1], 600)"


def task_that_never_comes(config):
    time.sleep(10**6)


def stuck_run(folder, timeout_s):
    """A run whose clients say who they are and then hang; returns why it ended."""
    from fl_core.engines.flower.simulation import Simulated, simulate

    config = flower_config("federation.rounds=1", "flower.connect_s=120", f"flower.timeout_s={timeout_s}")
    with SmpcAggregator(3, 30.0) as aggregator:
        keys = Path(aggregator.members.daemons.folder)
        simulated = Simulated(config, keys, None, task_that_never_comes)

        def work(relay):
            return run_rounds(Path(folder) / "run", config, aggregator, relay)

        return simulate(simulated, work)[0]


def test_clients_that_never_answer_do_not_keep_a_run_that_is_over(tmp_path):
    assert stuck_run(tmp_path, 3) == "all rounds done"
    assert [row["survivors"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]] == [0]


def test_clients_that_never_answer_do_not_keep_a_run_that_is_interrupted(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", BY_ITSELF, tmp_path], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text()):  # written before the first round
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.2)
        time.sleep(5)
        run.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in run.communicate(timeout=120)[1]
    finally:
        run.kill()
