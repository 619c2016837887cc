"""From one client's integer vector to the opened sum: noise, shares, and aggregators (plaintext and SMPC).

`party/` has the parties' daemons and the dealer, `coordinator/` whoever asks them, `deployment/` who takes part. Knows
nothing of models, budgets or rounds of training. Importing it starts no process and loads no CrypTen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secagg.aggregator import Aggregator, PlaintextAggregator
    from secagg.messages import ClientMessage, RoundSpec, RoundSum
    from secagg.smpc import SmpcAggregator

__all__ = ["Aggregator", "ClientMessage", "PlaintextAggregator", "RoundSpec", "RoundSum", "SmpcAggregator"]

_HOME = {
    "Aggregator": "aggregator",
    "PlaintextAggregator": "aggregator",
    "ClientMessage": "messages",
    "RoundSpec": "messages",
    "RoundSum": "messages",
    "SmpcAggregator": "smpc",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"secagg.{_HOME[name]}"), name)
    raise AttributeError(f"module 'secagg' has no attribute {name!r}")
