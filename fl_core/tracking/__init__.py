"""Where a run's numbers go: `metrics.jsonl`, TensorBoard, and services outside where they are asked for.

Only what was released is written as a metric: scores on public test data, epsilons, counts of survivors, bytes and
seconds. Simulation diagnostics (clipped samples, private losses) carry the prefix `simulation/`, because in a
deployment nobody could see them, and never leave the run folder.
"""

from fl_core.tracking.metrics_file import MetricsFile, read_metrics
from fl_core.tracking.rows import public, simulated
from fl_core.tracking.services import outside_trackers, refuse_missing_services
from fl_core.tracking.tensorboard import summary_writer
from fl_core.tracking.tracker import RunTracker, Tracker

__all__ = [
    "MetricsFile",
    "RunTracker",
    "Tracker",
    "outside_trackers",
    "public",
    "read_metrics",
    "refuse_missing_services",
    "simulated",
    "summary_writer",
]
