"""A plaintext aggregator whose rounds fail as they are told to."""

from __future__ import annotations

from secagg import PlaintextAggregator
from secagg.smpc import PartyFailure


class Stop(Exception):
    pass


class Recording(PlaintextAggregator):
    """Keeps every round's specification and every agreed set; does as `script` says at each closing, in turn.

    Of the script: "open" opens, "lose" fails after the opening, "fail" before it, "die" ends the process after it.
    """

    def __init__(self, *script):
        super().__init__()
        self.specs, self.sets, self.script = [], [], list(script)

    def open_round(self, spec):
        self.specs.append(spec)
        super().open_round(spec)

    def close(self, before_opening=None):
        step = self.script.pop(0) if self.script else "open"
        self.sets.append(self._state.received)
        if step == "fail":
            raise PartyFailure("party 1 is gone")
        opened = super().close(before_opening)
        if step == "lose":
            raise PartyFailure("party 1 is gone")
        if step == "die":
            raise Stop
        return opened


def stop_after(rounds):
    def on_round(report):
        if report.round == rounds:
            raise Stop

    return on_round
