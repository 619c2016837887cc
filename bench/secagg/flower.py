"""One round of Flower's SecAgg+ with its own code, in memory: what the server and a client of it cost.

`python -m bench.secagg.flower client|round JSON` prints one JSON line. Needs flwr 1.41 and numpy and nothing of this
repository but `bench.processes`, so that it can run in an interpreter of its own (Flower's pins exclude ours). The
workflow and the client mod are Flower's, unchanged; only the network between them is replaced. Everything that is not
the protocol is left out of the times, which favours Flower: serialising, transport, the broadcast of the model,
training, and what a strategy does with the mean afterwards.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod.secure_aggregation import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.compat.common.recorddict_compat import fitres_to_recorddict, parameters_to_arrayrecord
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.supercore.task_identity import TaskIdentity

from bench.processes import reset_peak, resident_mib

CLIPPING_RANGE, MAX_WEIGHT = 8.0, 1000.0  # Flower's defaults


def quantization_range(clients: int) -> int:
    """Flower's default, or less where the sum of so many clients would wrap in its ring of 2^32."""
    return min(2**22, 2 ** math.floor(math.log2((2**32 - 1) / clients)))


class Proxy:
    """What the workflow asks of a client's proxy."""

    def __init__(self, node: int) -> None:
        self.node_id = node


class Strategy:
    """Samples every client, broadcasts nothing, keeps the mean."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self.nodes = list(nodes)
        self.mean: Parameters | None = None

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: object) -> list[Any]:
        """An empty instruction for every client."""
        return [(Proxy(node), FitIns(Parameters([], "numpy.ndarray"), {})) for node in self.nodes]

    def aggregate_fit(self, server_round: int, results: list[Any], failures: object) -> tuple[None, dict[str, Any]]:
        """The unmasked mean is in every result."""
        self.mean = results[0][1].parameters
        return None, {}


class Clients:
    """All clients and the network: a `Grid` that runs Flower's client mod for every message.

    Attributes:
        outside: seconds that the workflow waited for clients.
        seconds, sent: by node and stage: seconds in the mod; bytes of the serialised reply.
    """

    def __init__(self, nodes: Iterable[int], parameters: int, silent: frozenset[int], sampled: int = 0) -> None:
        self.contexts = {n: Context(1, n, {}, RecordDict(), {}) for n in nodes}
        self.parameters, self.silent, self.sampled = parameters, silent, sampled
        self.outside = 0.0
        self.before = 0.0
        self.seconds: dict[str, list[float]] = {stage: [] for stage in Stage.all()}
        self.sent: dict[str, list[int]] = {stage: [] for stage in Stage.all()}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Every client's reply; none of the silent ones from the masked vectors on."""
        messages = list(messages)
        started = time.perf_counter()
        stage = messages[0].content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        late = stage in (Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK)
        if late:
            messages = [m for m in messages if m.metadata.dst_node_id not in self.silent]
        if self.sampled and stage == Stage.COLLECT_MASKED_VECTORS:
            reset_peak()
            self.before = resident_mib("VmRSS")
            for message in messages[: self.sampled]:
                self.reply(message, stage)
            raise EnoughError([m.metadata.dst_node_id for m in messages])
        replies = [self.reply(m, stage) for m in messages]
        if stage == Stage.COLLECT_MASKED_VECTORS:
            reset_peak()
        self.outside += time.perf_counter() - started
        return replies

    def reply(self, message: Message, stage: str) -> Message:
        """One client's reply to a message that went through the wire format, as it would to get there."""
        message = message_from_proto(message_to_proto(message))
        node = message.metadata.dst_node_id
        training = 0.0

        def train(asked: Message, context: Context) -> Message:
            nonlocal training
            begin = time.perf_counter()
            parameters = ndarrays_to_parameters([update(node, self.parameters)])
            result = FitRes(Status(Code.OK, ""), parameters, int(MAX_WEIGHT), {})
            answer = Message(fitres_to_recorddict(result, False), reply_to=asked)
            training = time.perf_counter() - begin
            return answer

        begin = time.perf_counter()
        answer = secaggplus_mod(message, self.contexts[node], train)
        self.seconds[stage].append(time.perf_counter() - begin - training)
        self.sent[stage].append(message_to_proto(answer).ByteSize())
        return answer


class EnoughError(Exception):
    """The sampled clients have answered; `args[0]`: the nodes that had been asked."""


def update(node: int, parameters: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A client's vector: cheap, bounded by 1, another for every client."""
    return np.cos(np.float32(node) + np.arange(parameters, dtype=np.float32))


def context_for(strategy: Strategy) -> LegacyContext:
    """What the workflow runs in."""
    state = RecordDict()
    state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(Parameters([], "numpy.ndarray"), False)
    plain = Context(1, 0, {}, state, {})
    return LegacyContext(plain, strategy=strategy, client_manager=SimpleClientManager())  # type: ignore[arg-type]


def workflow(clients: int, shares: int, threshold: int) -> SecAggPlusWorkflow:
    """Flower's workflow with its defaults."""
    return SecAggPlusWorkflow(
        shares, threshold, max_weight=MAX_WEIGHT, clipping_range=CLIPPING_RANGE,
        quantization_range=quantization_range(clients),
    )  # fmt: skip


def one_client(parameters: int, shares: int, threshold: int, sampled: int = 3) -> dict[str, Any]:
    """Cost of one client with its neighbours: it does not depend on how many others there are.

    Runs the set-up and the exchange of shares of a whole neighbourhood and the rest of `sampled` clients of it.
    """
    nodes = range(1, shares + 1)
    clients, strategy = Clients(nodes, parameters, frozenset(), sampled), Strategy(nodes)
    try:
        workflow(shares, shares, threshold)(clients, context_for(strategy))  # type: ignore[arg-type]
    except EnoughError as enough:
        asked = enough.args[0]
    peak = resident_mib("VmHWM")
    for node in asked[:sampled]:
        unmask = {Key.STAGE: Stage.UNMASK, Key.ACTIVE_NODE_ID_LIST: asked, Key.DEAD_NODE_ID_LIST: []}
        content = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(unmask)})
        clients.reply(Message(content, node, "train"), Stage.UNMASK)
    return {
        "seconds": sum(map(statistics.median, clients.seconds.values())),
        "bytes": sum(map(statistics.median, clients.sent.values())),
        "before_mib": clients.before,
        "peak_mib": peak,
        "sampled": sampled,
        "flwr": version(),
    }


def one_round(parameters: int, clients: int, shares: int, threshold: int, dropped: int = 0) -> dict[str, Any]:
    """Cost of a whole round at the server; `dropped` clients are silent once they have sent their key shares."""
    nodes = range(1, clients + 1)
    # Every (n / dropped)-th: seats in the ring of neighbours are shuffled by the workflow itself.
    silent = frozenset(nodes[:: clients // dropped][:dropped]) if dropped else frozenset()
    grid, strategy = Clients(nodes, parameters, silent), Strategy(nodes)
    before = resident_mib("VmRSS")
    started = time.perf_counter()
    workflow(clients, shares, threshold)(grid, context_for(strategy))  # type: ignore[arg-type]
    seconds = time.perf_counter() - started - grid.outside
    peak = resident_mib("VmHWM")
    if strategy.mean is None:
        return {"not_run": "the protocol stopped: too few neighbours of some client were left", "flwr": version()}
    return {
        "server_seconds": seconds,
        "simulation_seconds": seconds + grid.outside,
        "client_seconds": sum(map(statistics.median, grid.seconds.values())),
        "bytes": sum(map(statistics.median, grid.sent.values())),
        "before_mib": before,
        "peak_mib": peak,
        "largest_error": error_of(strategy.mean, [n for n in nodes if n not in silent], parameters),
        "flwr": version(),
    }


def error_of(mean: Parameters, nodes: list[int], parameters: int) -> float:
    """Largest difference between the unmasked mean and the true one."""
    expected = np.zeros(parameters)
    for node in nodes:
        expected += update(node, parameters)
    return float(np.abs(parameters_to_ndarrays(mean)[0] - expected / len(nodes)).max())


def version() -> str:
    """Flower's and Python's versions."""
    from importlib.metadata import version as installed

    return f"flwr {installed('flwr')}, Python {'.'.join(map(str, sys.version_info[:3]))}, numpy {np.__version__}"


def main() -> int:
    """Command line: which measurement, and its arguments as JSON."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2**32, 1
    measure = {"client": one_client, "round": one_round}[sys.argv[1]]
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
