"""The tiny task's clients as nodes behind a relay that loses, delays and garbles what it is told to."""

from __future__ import annotations

import time
import uuid

from bench.variance.nodes import client_nodes as nodes_of
from fl_core.adapters import flat_adapter
from fl_core.engines.flower.aggregator import AggregatorNode, AggregatorSettings
from fl_core.engines.flower.source import FlowerClients
from fl_core.engines.local import LocalClients
from fl_core.engines.round_loop import RoundLoop
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import ledger_header, plan_privacy
from fl_core.run_folder import RunFolder
from fl_core.tracking import read_metrics
from tests.fl_core.tiny import tiny_config, tiny_task

FAR = {"timeout_s": 1.0, "connect_s": 1.0}


def flower_config(*overrides, **sections):
    sections = {
        "aggregation": {"backend": "smpc"},
        "engine": {"name": "flower", "cohort_size": 1},
        "flower": FAR,
        "federation": {"clients": 4, "rounds": 3, "n_min": 3, "sample_rate": 0.5},
        **sections,
    }
    return tiny_config(*overrides, **sections)


class Relay:
    """Nodes in this process. `change(node, kind, answer, facts)` gives what arrives: facts, None, or SILENT."""

    SILENT = object()

    def __init__(self, nodes, change=lambda node, kind, answer, facts: answer):
        self.all, self.change, self.received, self.asked = dict(nodes), change, [], []

    def nodes(self):
        return list(self.all)

    def ask(self, questions, seconds, more=None):
        for node, (kind, facts) in questions.items():
            self.asked.append((node, kind, facts))
            found = self.change(node, kind, self.all[node].answer(kind, facts), facts)
            if found is not self.SILENT:
                self.received.append((node, kind, found))
                yield node, found


class PatientRelay(Relay):
    """Asks whoever comes until the time is over or it is told to stop (`told`); `pause(number)` happens in between."""

    def __init__(self, nodes, pause=lambda number: None):
        super().__init__(nodes)
        self.pause, self.told = pause, False

    def ask(self, questions, seconds, more=None):
        yield from super().ask(questions, seconds)
        deadline, pauses = time.monotonic() + seconds, 0
        while more and time.monotonic() < deadline:
            self.pause(pauses)
            pauses += 1
            added = more()
            if added is None:
                self.told = True
                return
            yield from super().ask(added, seconds)
            time.sleep(0.02)


def client_nodes(config, aggregator):
    """As `bench.variance.nodes.client_nodes`, of the tiny task."""
    return nodes_of(config, aggregator, tiny_task)


def run_rounds(path, config, aggregator, relay=None, notes=None):
    """Under Flower's source with a relay, else as the local engine; returns (why it ended, the loop)."""
    task = tiny_task(config)
    plan = plan_privacy(config, len(flat_adapter(task.model)), task.records)
    with RunFolder(path) as folder:
        ledger = Ledger.create(folder.ledger_path, ledger_header(config, plan, uuid.uuid4().hex))
        with ledger:
            if relay is None:
                source = LocalClients(task, config, plan)
            else:
                source = FlowerClients(relay, config, aggregator, (notes if notes is not None else []).append)
                source.connect()
            loop = RoundLoop(task, config, plan, folder, ledger, aggregator, None, source)
            return loop.run(lambda report: None), loop


def survivors(path):
    return [row["survivors"] for row in read_metrics(path / "metrics.jsonl")[1:]]


def aggregator_nodes(aggregator, spool):
    parties = aggregator.members.daemons.folder / "parties.yaml"
    return {200 + rank: AggregatorNode(AggregatorSettings(parties, rank, spool)) for rank in range(3)}
