"""A server that wants its ledger to say less: edits, cuts and copies of ledgers and budgets.

Readers are `read_ledger`, with or without the head that a checkpoint keeps, and a budget that several runs share.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.attacks.attack import NOTHING, Attack, Check, Outcome
from bench.small_run import small_config
from fl_core import budget_folder, shared_budget
from fl_core.budget import Budget
from fl_core.budget_folder import Terms, create_budget
from fl_core.privacy import ledger_file
from fl_core.privacy.ledger import Head, Ledger, read_ledger
from fl_core.privacy.ledger_entries import LedgerHeader, Opening
from fl_core.privacy.ledger_lines import GENESIS, encode_line
from fl_core.privacy_plan import ledger_header, ledger_opening, plan_privacy
from fl_core.shared_budget import SharedBudget
from secagg.errors import SottoError

__all__ = ["ATTACKS"]

_SERVER = "server"
_SIX, _EPSILON, _DELTA = 6, 2.0, 1e-3
_OTHERS_SAY = "The ledger's chain shows changes to who kept an earlier head, not who wrote it"


class _Run:
    """The ledger of a run whose sums are opened as long as its budget lets them."""

    def __init__(self, folder: Path, budget: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        privacy = {"noise_multiplier": 3.0, "delta": _DELTA, "budget": None if budget is None else str(budget)}
        federation = {"clients": 8, "rounds": 20, "n_min": 4, "sample_rate": 1.0}
        config = small_config(privacy=privacy, federation=federation, aggregation={"backend": "smpc"})
        self.plan = plan_privacy(config, 10, 80)
        self.path = folder / "ledger.jsonl"
        if self.path.exists():
            self.ledger = Ledger.resume(self.path)
        else:
            self.ledger = Ledger.create(self.path, ledger_header(config, self.plan, folder.name))
        try:
            self.budget = Budget(config, self.plan, self.ledger)
        except BaseException:
            self.ledger.close()
            raise

    def open(self, times: int) -> Head:
        """Open so many sums; where the ledger stands then."""
        for _ in range(times):
            number = len(self.ledger.openings) + 1
            with self.budget.claim(number, 8):
                self.ledger.append(ledger_opening(self.plan, number, 0, frozenset(range(8))))
        return Head(self.ledger.lines, self.ledger.head)


def _recorded(folder: Path, times: int = _SIX, budget: Path | None = None) -> tuple[Path, Head]:
    run = _Run(folder, budget)
    try:
        return run.path, run.open(times)
    finally:
        run.ledger.close()


def _read(change: Callable[[Path], None]) -> Callable[[Path], Outcome]:
    """A ledger is changed, and read by somebody who has the head that a checkpoint kept."""

    def run(folder: Path) -> Outcome:
        path, head = _recorded(folder / "run")
        before = read_ledger(path).openings
        change(path)
        try:
            found = read_ledger(path, head).openings
        except SottoError as error:
            return Outcome(False, NOTHING, (str(error),))
        gained = f"a ledger of {len(found)} openings, of noise {found[0].noise_multiplier:.1f}, is taken for the run's"
        return Outcome(found != before, gained)

    return run


def _rewrite(path: Path, whole: bool = True) -> None:
    """Ten times the noise in every entry, in what clients added too if `whole`, and a chain that fits."""
    contents = read_ledger(path)
    louder = [
        replace(one, noise_multiplier=10 * one.noise_multiplier, sigma_steps=(10 if whole else 1) * one.sigma_steps)
        for one in contents.openings
    ]
    lines, prev = [], GENESIS
    entries: tuple[LedgerHeader | Opening, ...] = (contents.header, *louder)
    for number, entry in enumerate(entries):
        line, prev = encode_line(number, entry, prev)
        lines.append(line)
    path.write_bytes(b"".join(lines))


def _edit(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    record = json.loads(lines[3])
    record["body"]["noise_multiplier"] *= 10
    lines[3] = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
    path.write_text("".join(lines))


def _truncate(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def _remove_middle(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))


def _whole_ledger_new(folder: Path) -> Outcome:
    """The rewritten ledger is shown to somebody who has kept no head."""
    path, _ = _recorded(folder / "run")
    before = read_ledger(path).openings
    _rewrite(path)
    return Outcome(read_ledger(path).openings != before, "a ledger of ten times the noise that reads well")


def _second_folder(shared: bool) -> Callable[[Path], Outcome]:
    """A run to the end of its budget, and another on the same data in a folder of its own."""

    def run(folder: Path) -> Outcome:
        budget = folder / "budget"
        create_budget(budget, Terms(_EPSILON, _DELTA))
        first, second = _spend(folder / "first", budget), 0
        said = first[1]
        second, again = _spend(folder / "second", budget if shared else None)
        return Outcome(second > 0, f"{second} sums beyond the {first[0]} that were allowed", (again or said,))

    return run


def _spend(folder: Path, budget: Path | None) -> tuple[int, str]:
    """How many sums were opened (at most as many as the run has rounds), and why no more."""
    opened = 0
    try:
        run = _Run(folder, budget)
    except SottoError as error:
        return 0, str(error)
    try:
        for _ in range(20):
            run.open(1)
            opened += 1
    except SottoError as error:
        return opened, str(error)
    finally:
        run.ledger.close()
    return opened, ""


def _cut_back(folder: Path) -> Outcome:
    """A run's ledger is cut back so that the budget has something left for the next."""
    budget = folder / "budget"
    create_budget(budget, Terms(_EPSILON, _DELTA))
    first, _ = _spend(folder / "first", budget)
    path = folder / "first" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    second, said = _spend(folder / "second", budget)
    return Outcome(second > 0, f"{second} sums beyond the {first} that were allowed", (said,))


def _all_restored(folder: Path) -> Outcome:
    """Budget and ledgers are copied away, spent, and copied back together."""
    budget = folder / "disk" / "budget"
    create_budget(budget, Terms(_EPSILON, _DELTA))
    run = folder / "disk" / "run"
    _recorded(run, 1, budget)
    shutil.copytree(folder / "disk", folder / "copy")
    first, _ = _spend(run, budget)
    shutil.rmtree(folder / "disk")
    shutil.copytree(folder / "copy", folder / "disk")
    second, said = _spend(run, budget)
    return Outcome(second > 0, f"{second} sums beyond the {first + 1} that were allowed", (said,))


_READ = ledger_file._verify
_HEAD = Check(
    "comparing with the head that the checkpoint kept",
    ((ledger_file, "_verify", lambda path, content, expected: _READ(path, content, None)),),
)
_REGISTERED = Check(
    "comparing with the head that the budget kept",
    (
        (shared_budget, "read_registered", lambda folder, entry: read_ledger(entry.ledger)),
        (budget_folder, "read_registered", lambda folder, entry: read_ledger(entry.ledger)),
    ),
)
_NO_OTHERS = Check("counting the other runs of the budget", ((SharedBudget, "_others", lambda self, book: {}),))

ATTACKS = (
    Attack(
        "edited", _SERVER, "changes the noise in one entry of its ledger", "reader of the ledger",
        r"line 4: .*hash|line 4: .*chang", _read(_edit),
    ),
    Attack(
        "entry-removed", _SERVER, "takes one entry out of the middle of its ledger", "reader of the ledger",
        r"line 3: ", _read(_remove_middle),
    ),
    Attack(
        "noise-claimed", _SERVER, "claims ten times the noise of its sums in a ledger written anew",
        "reader of the ledger", r"grid steps only add up to", _read(partial(_rewrite, whole=False)), Check(
            "comparing an entry's noise with its shares",
            ((Opening, "check_against", lambda self, header: None),),
            r"is not the line that the checkpoint remembers",
        ),
    ),
    Attack(
        "rewritten", _SERVER, "writes its whole ledger anew with ten times the noise, chain and all",
        "reader of the ledger", r"is not the line that the checkpoint remembers", _read(_rewrite), _HEAD,
    ),
    Attack(
        "truncated", _SERVER, "cuts the last entries off its ledger", "reader of the ledger",
        r"is missing; there once were 7 lines", _read(_truncate), _HEAD,
    ),
    Attack(
        "rewritten-unseen", _SERVER, "shows a ledger written anew to a reader who kept nothing", "nobody", _OTHERS_SAY,
        _whole_ledger_new, document="SECURITY.md",
    ),
    Attack(
        "second-folder", _SERVER, "begins another run on the same data once its budget is spent", "coordinator",
        r"one more opening would take this run and .*first to epsilon", _second_folder(True), _NO_OTHERS,
    ),
    Attack(
        "no-budget", _SERVER, "begins another run on the same data that names no shared budget", "nobody",
        "A coordinator that lies about it is bounded by the rules above only", _second_folder(False),
        document="SECURITY.md",
    ),
    Attack(
        "cut-back", _SERVER, "cuts one run's ledger back so that a shared budget has something left", "coordinator",
        r"which cannot be counted now: .*bring its ledger back", _cut_back, _REGISTERED,
    ),
    Attack(
        "all-restored", _SERVER, "restores budget and ledgers together from an older copy", "nobody",
        "A coordinator that lies about it is bounded by the rules above only", _all_restored, document="SECURITY.md",
    ),
)  # fmt: skip
