"""What a deployment's run has to come to: its configuration, its rows, and the local engine's adapter beside it."""

from __future__ import annotations

import json

from experiments.tasks import build_task
from fl_core.adapters import flat_adapter
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from secagg import PlaintextAggregator

CONFIG = """
data: {{name: digits, classes: [5, 6, 7, 8, 9]}}
model: {{channels: [4, 8], pretrain: {{data: digits, classes: [0, 1, 2, 3, 4], epochs: 1, batch_size: 32}}}}
lora: {{rank: 4, alpha: 8, targets: [fc]}}
federation: {{clients: 4, rounds: 3, n_min: 3, sample_rate: 0.5}}
privacy: {{noise_multiplier: 1.0, delta: 1.0e-3, insecure_seed: 1}}
aggregation: {{deployment: {deployment}, retries: 3}}
engine: {{name: flower, threads: 1}}
flower: {{relay: aggregators, timeout_s: 150, connect_s: 150, settle_s: 150}}
"""


def rows(out):
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()][1:] if path.exists() else []


def local_adapter(folder, config, present, attempts=None):
    """The local engine's, with `present` clients in each round, whose sum opens in its attempt of that number."""
    attempts = attempts or [0] * len(present)

    class Reference(RoundLoop):
        def _open(self, number):
            return self._attempt(number, attempts[number - 1], present[number - 1])

    task = build_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), max(task.records, config.federation.clients))
    with RunFolder(folder) as opened, Ledger.create(opened.ledger_path, ledger_header(config, plan, "r")) as ledger:
        source = LocalClients(task, config, plan)
        loop = Reference(task, config, plan, opened, ledger, PlaintextAggregator(), None, source)
        for number in range(1, len(present) + 1):
            loop._round(number)
        return loop.state.theta
