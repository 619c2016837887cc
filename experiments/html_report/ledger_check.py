"""A run's ledger, verified anew when the page is made: its chain, whether it is the summary's, and its epsilons.

Takes the ledger's path and the summary; gives a verdict in words. It never mends anything, and an epsilon that the
ledger does not bear out is a fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_core.privacy.ledger import LedgerContents, read_ledger, summarise_ledger
from fl_core.privacy.views import VIEWS
from secagg.errors import SottoError

__all__ = ["LedgerCheck", "check_ledger"]

_TOLERANCE = 1e-9  # of an epsilon, for another version's arithmetic


@dataclass(frozen=True)
class LedgerCheck:
    """What was found.

    Attributes:
        verdict: `intact`, `fault` or `absent`.
        sentence: the verdict, or what is wrong.
        lines: of a chain that is whole.
        head: hash of its last line.
        contents: of a ledger that is intact.
    """

    verdict: str
    sentence: str
    lines: int | None = None
    head: str | None = None
    contents: LedgerContents | None = field(default=None, repr=False)


def check_ledger(path: Path | None, summary: dict[str, Any]) -> LedgerCheck:
    """Verify the ledger at `path` against itself and against `summary`; None: the run came without its ledger."""
    if path is None:
        return LedgerCheck(
            "absent",
            "Not verified: these numbers come from a report's runs.json, which holds no ledger. "
            "Whoever has the run's folder can verify it.",
        )
    if not path.exists():
        return LedgerCheck("fault", f"The ledger is missing: {path.parent.name} has no {path.name}.")
    try:
        contents = read_ledger(path)
        found = summarise_ledger(contents, summary["privacy"].get("accountant"))
    except SottoError as error:
        # The folder's place on this machine is nobody's business who reads the page.
        return LedgerCheck("fault", str(error).replace(str(path), path.name))
    lines, head = contents.head.lines, contents.head.hash
    told = summary["privacy"]
    if told.get("head") != head:
        said = f"The chain is whole, but it is not the one that the summary was made from ({told.get('lines')} lines)."
        return LedgerCheck("fault", said, lines, head)
    for view in VIEWS:
        ours, theirs = found["views"][view]["epsilon"], told["views"][view]["epsilon"]
        if (ours is None) != (theirs is None) or (
            ours is not None and not math.isclose(ours, theirs, rel_tol=_TOLERANCE)
        ):
            said = f"The ledger's epsilon of the {view} view is {ours}, the summary says {theirs}."
            return LedgerCheck("fault", said, lines, head)
    said = "The chain is whole, the summary was made from it, and its epsilons follow from it."
    return LedgerCheck("intact", said, lines, head, contents)
