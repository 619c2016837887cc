"""What private runs that are compared have spent together, where they may be about the same records.

Takes the runs with their verified ledgers; gives sentences. A number of one run must not be the last word where others
spent on the same records too.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.formatting import epsilon
from experiments.html_report.sections import Subject
from fl_core.privacy.joint import Joint, add_up
from fl_core.privacy.views import VIEWS
from secagg.errors import SottoError

__all__ = ["spent_together"]


def spent_together(subjects: Sequence[Subject]) -> list[str]:
    """A sentence for each set of two or more private runs that do not say that they protect different contributions.

    Runs whose ledger is not here, or does not bear out their numbers, are in no sum.
    """
    found = [subject.check.contents for subject in subjects if subject.summary["privacy"]["private"]]
    # Of copies of one run, the one that goes on longest says all that the others say.
    ledgers = sorted((contents for contents in found if contents is not None), key=lambda one: one.head.lines)
    runs = {contents.header.run: contents for contents in ledgers}
    try:
        return [_sentence(joint) for joint in add_up(list(runs.values()), "rdp") if len(joint.ledgers) > 1]
    except SottoError:
        # Whose sentence may tell of places on this machine.
        return ["What these runs spend together could not be added up; sotto ledger, given their folders, says why."]


def _sentence(joint: Joint) -> str:
    whom = {"example": "records", "client": "clients"}[joint.ledgers[0].header.unit]
    views = joint.to_json()["views"]
    spent = ", ".join(f"{view} {epsilon(views[view]['epsilon'])}" for view in VIEWS)
    sure = "may be about the same" if joint.unknown else "are about the same"
    return (
        f"{len(joint.ledgers)} private runs {sure} {whom}: together their epsilons are {spent}, "
        f"at delta {joint.views.delta:g}. The epsilon of one run holds only against whoever sees none of the others."
    )
