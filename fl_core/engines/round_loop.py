"""The round loop that all engines run: rounds one after another, wherever the clients' messages come from.

Takes a task, a configuration, a run folder, an aggregator and a source of messages; leaves a run folder. No sum is ever
opened that is not in the ledger before. It can be interrupted at any moment and resumed: a crash can only make the
ledger over-count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fl_core.adapters import flat_adapter, load_flat_adapter, unmoved_weights
from fl_core.adaptive_clipping import next_clip_norm
from fl_core.budget import Budget
from fl_core.checkpoint import Checkpoint, save_checkpoint
from fl_core.config import RunConfig
from fl_core.engines.message_source import MessageSource, RoundRequest
from fl_core.model_digest import broadcast_digest, frozen_digest
from fl_core.optimizers import OptimizerState, initial_state, server_step
from fl_core.privacy.ledger import Ledger
from fl_core.privacy_plan import PrivacyPlan, ledger_opening
from fl_core.round_report import RoundReport
from fl_core.rounds import attempt_stream, spec_of
from fl_core.run_folder import RunFolder
from fl_core.sampling import poisson_coin
from fl_core.shared_budget import BudgetExhausted
from fl_core.storage import StorageError
from fl_core.task import WHOLE, FederatedTask
from fl_core.tracking import RunTracker, outside_trackers, read_metrics, simulated
from secagg.aggregator import Aggregator
from secagg.errors import AggregationError, PartyFailure
from secagg.messages import RoundSum
from secagg.openings import OpeningRefused
from secagg.randomness import Keystream
from secagg.round_state import BelowMinimum

__all__ = ["RoundLoop"]


class RoundLoop:
    """Runs the rounds of one task.

    Args:
        task: model, clients, loss, scores.
        config: the resolved configuration.
        plan: noise and grid, from `plan_privacy`.
        folder: the locked run folder.
        ledger: the run's open ledger.
        aggregator: plaintext or SMPC.
        start: checkpoint to go on from, or None.
        source: where messages come from.
    """

    def __init__(
        self,
        task: FederatedTask,
        config: RunConfig,
        plan: PrivacyPlan,
        folder: RunFolder,
        ledger: Ledger,
        aggregator: Aggregator,
        start: Checkpoint | None,
        source: MessageSource,
    ) -> None:
        self.task, self.config, self.plan = task, config, plan
        self.folder, self.ledger, self.aggregator, self.source = folder, ledger, aggregator, source
        self.state = _untrained(task, config, plan, ledger) if start is None else _resumed(start, plan, ledger)
        load_flat_adapter(task.model, self.state.theta)
        self.budget = Budget(config, plan, ledger)
        outside = outside_trackers(config.tracking, folder.path, ledger.header.run)
        self.tracker = RunTracker(folder, self.state.round, outside)
        seed = config.privacy.insecure_seed
        self.random = Keystream.system() if seed is None else Keystream.seeded(seed)
        # Who vanishes when is the simulated world's doing and no secret. It is fixed by run and round, so that a round
        # that runs again, after a crash too, has the same clients: another sum of the same model might be refused.
        self.outages = Keystream.seeded(ledger.header.run.encode()) if seed is None else self.random
        self.frozen = frozen_digest(task.model)
        self.uploaded = 0

    def run(self, on_round: Callable[[RoundReport], None]) -> str:
        """All remaining rounds; returns why it ended, in words.

        Raises:
            SottoError: if a round failed more often than `aggregation.retries` allows, or nothing can be written.
        """
        rounds = self.config.federation.rounds
        ended = "all rounds done"
        try:
            if self.state.round == 0 and not self.tracker.recorded:
                self._record(0, 0, self._scores(0), 0.0, "untuned")
            while self.state.round < rounds:
                try:
                    report = self._round(self.state.round + 1)
                except BudgetExhausted as stop:
                    ended = str(stop)
                    self._score_end()
                    break
                on_round(report)
        finally:
            # Also on Ctrl-C: rounds that are done are kept, the one under way runs again with fresh randomness.
            self._checkpoint()
            self.tracker.close()
        return ended

    def _round(self, number: int) -> RoundReport:
        started = time.perf_counter()
        clip_norm = self.state.clip_norm
        message = ""
        survivors = refused = 0
        try:
            opened = self._open(number)
        except (BelowMinimum, OpeningRefused) as refusal:
            message = str(refusal)
            self.state = self._after(number, self.state.theta, self.state.optimizer, self.state.clip_norm)
        else:
            survivors, refused = len(opened.clients), max(self.aggregator.refused, self.source.refused)
            self._step(number, opened)
        scores: dict[str, float] = {}
        try:
            scores = self._scores(number)
        finally:
            # Also when it is interrupted here: the round is done, and a resumed run goes on after it.
            seconds = time.perf_counter() - started
            self._record(number, survivors, scores, seconds, message, refused, clip_norm)
        if number % self.config.engine.checkpoint_every == 0:
            self._checkpoint()
        rounds, epsilons = self.config.federation.rounds, self.budget.epsilons()
        return RoundReport(number, rounds, survivors, refused, scores, epsilons, message)

    def _score_end(self) -> None:
        """Score a run that ends before its last round as that one would have been, if it is not yet."""
        row = read_metrics(self.folder.metrics_path)[-1]
        wanted = "accuracy" if self.task.evaluate_whole is None else f"{WHOLE}accuracy"
        if wanted not in row:
            self.tracker.add(row["round"], self._scores(row["round"], last=True))

    def _scores(self, number: int, last: bool = False) -> dict[str, float]:
        """Scores on public test data after round `number`; the whole of it at both ends, with the prefix WHOLE."""
        last = last or number == self.config.federation.rounds
        if number % self.config.engine.eval_every and not last:
            return {}
        scores = self.task.evaluate(self.task.model)
        if self.task.evaluate_whole is not None and (number == 0 or last):
            whole = self.task.evaluate_whole(self.task.model)
            scores = {**scores, **{f"{WHOLE}{name}": value for name, value in whole.items()}}
        return scores

    def _open(self, number: int) -> RoundSum:
        """Open the round's sum, again with fresh randomness if a party fails; every opening is in the ledger."""
        present = self._present(number)
        for attempt in range(self.config.aggregation.retries + 1):
            try:
                return self._attempt(number, attempt, present)
            except PartyFailure as failure:
                if attempt == self.config.aggregation.retries:
                    raise AggregationError(
                        f"round {number} was given up after {attempt + 1} attempts: {failure}; the run can be resumed"
                    ) from None
        raise AssertionError("unreachable: the loop returns or raises")

    def _present(self, number: int) -> list[int]:
        """The clients that are there in round `number`."""
        everyone, dropout = range(self.config.federation.clients), self.config.simulation.dropout
        outages = self.outages.child("dropout", number)
        return [client for client in everyone if not (dropout and poisson_coin(dropout, outages.child(client)))]

    def _attempt(self, number: int, attempt: int, present: list[int]) -> RoundSum:
        openings, tries = self.budget.openings_of(number), self.config.aggregation.retries + 1
        # Labels, not call order, select the streams: a resumed test run draws what the uninterrupted one drew.
        # An attempt after a failure, or after an opening that the ledger already counts, never repeats a stream.
        stream = attempt_stream(self.random, number, openings, attempt)
        # Parties remember which attempts they opened; after a crash too, none may come twice.
        model = broadcast_digest(self.frozen, self.state.theta)
        spec = spec_of(self.config, self.plan, self.ledger.header.run, number, openings * tries + attempt, model)
        self.uploaded = self.aggregator.upload_bytes(spec)

        def before_opening(clients: frozenset[int]) -> None:
            times = self.budget.openings_of(number)
            with self.budget.claim(number, len(clients)):
                self.ledger.append(ledger_opening(self.plan, number, times, clients))

        request = RoundRequest(spec, present, self.state.theta, self.state.clip_norm, stream)
        return self.source.open_sum(request, self.aggregator, before_opening)

    def _average(self, opened: RoundSum) -> tuple[Tensor, float | None]:
        """The average contribution `[p]` float64 with the noise in it, and the next round's clip norm."""
        config = self.config
        total = torch.from_numpy(self.plan.grid.decode(opened.total))
        # Public and fixed, whoever dropped out or was sampled: a data-dependent denominator would leak.
        members = self.task.records if config.privacy.unit == "example" else config.federation.clients
        expected = config.federation.sample_rate * members
        clip_norm = self.state.clip_norm
        if clip_norm is not None:
            # Contributions were sent as if the norm were that of the first round.
            total = total[:-1] * (clip_norm / config.privacy.clip_norm)
            # Who is in the sum is public too. Without it drop-outs would pull the fraction towards a half, and a high
            # quantile, out of reach then, would push the norm on for ever.
            present = expected * len(opened.clients) / config.federation.clients
            clip_norm = next_clip_norm(clip_norm, int(opened.total[-1]), present, self.plan.bit, config.privacy)
        return total / expected, clip_norm

    def _step(self, number: int, opened: RoundSum) -> None:
        """Let the server's optimiser follow the opened sum.

        Raises:
            AggregationError: if the adapter diverges, or a weight with a gradient does not move in the first step.
        """
        config = self.config
        average, clip_norm = self._average(opened)
        theta, optimizer = server_step(
            self.state.theta, average, self.state.optimizer, config.server, config.federation.rounds
        )
        if not bool(torch.isfinite(theta).all()):
            raise AggregationError(
                f"round {number}: the adapter is no longer finite; lower server.learning_rate "
                f"({config.server.learning_rate})"
            )
        load_flat_adapter(self.task.model, theta)
        if self.state.optimizer.steps == 0 and config.server.learning_rate:
            unmoved = unmoved_weights(self.task.model, self.state.theta, average)
            if unmoved:
                raise AggregationError(
                    f"round {number}: adapter weight {unmoved[0]} did not move in the first step although it has a "
                    f"gradient; raise server.learning_rate ({config.server.learning_rate})"
                )
        self.state = self._after(number, theta, optimizer, clip_norm)

    def _after(self, number: int, theta: Tensor, optimizer: OptimizerState, clip_norm: float | None) -> Checkpoint:
        """The state after round `number`, with where the ledger stands now."""
        return Checkpoint(number, theta, optimizer, self.ledger.lines, self.ledger.head, clip_norm)

    def _checkpoint(self) -> None:
        if self.state.round:
            # A round that a checkpoint holds is not run again, so that its row would never come back.
            self.tracker.settle()
            save_checkpoint(self.folder.checkpoints, self.state)

    def _record(
        self,
        number: int,
        survivors: int,
        scores: dict[str, float],
        seconds: float,
        message: str,
        refused: int = 0,
        clip_norm: float | None = None,
    ) -> None:
        row: dict[str, object] = {
            "round": number,
            "survivors": survivors,
            "seconds": round(seconds, 4),
            "bytes_per_client": self.uploaded,
            **scores,
            **{f"epsilon_{view}": spent for view, spent in self.budget.epsilons().items() if spent is not None},
            **simulated(self.source.row()),
        }
        if clip_norm is not None:
            row["clip_norm"] = clip_norm
        if refused:
            row["refused"] = refused
        if message:
            row["message"] = message
        self.tracker.record(row)


def _untrained(task: FederatedTask, config: RunConfig, plan: PrivacyPlan, ledger: Ledger) -> Checkpoint:
    theta = flat_adapter(task.model)
    clip_norm = config.privacy.clip_norm if plan.bit else None
    return Checkpoint(0, theta, initial_state(len(theta)), ledger.lines, ledger.head, clip_norm)


def _resumed(start: Checkpoint, plan: PrivacyPlan, ledger: Ledger) -> Checkpoint:
    """A checkpoint's state, with where the ledger stands now.

    Raises:
        StorageError: if it is of another adapter or another kind of clipping.
    """
    if len(start.theta) != plan.parameters:
        raise StorageError(
            f"the checkpoint of round {start.round} has {len(start.theta)} parameters, and this run's adapter "
            f"{plan.parameters}; remove it, or use another --out"
        )
    if plan.bit and start.clip_norm is None:
        raise StorageError(
            f"the checkpoint of round {start.round} has no clip norm, so its run had privacy.clipping fixed; "
            "go on with that"
        )
    clip_norm = start.clip_norm if plan.bit else None
    return replace(start, ledger_lines=ledger.lines, ledger_head=ledger.head, clip_norm=clip_norm)
