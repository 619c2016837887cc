"""The run folder on disk, which one process at a time holds.

Layout: `config.yaml` (resolved), `metrics.jsonl`, `ledger.jsonl`, `checkpoints/`, `adapter/`, `figures/`,
`tensorboard/`, `report.html`, `summary.json`. It must never overwrite a run that it was not told to overwrite, nor
begin one among files of another kind, nor leave a folder of a run that never began.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import TracebackType

from fl_core.foreign_folder import refuse_foreign
from fl_core.storage import StorageError, draft_of, lock_folder, storage_errors

__all__ = ["RunFolder"]

_OWN = ("config.yaml", "ledger.jsonl", "metrics.jsonl", "summary.json", "checkpoints")


class RunFolder:
    """An opened and locked run folder; use as a context manager.

    Args:
        path: the folder.
        resume: continue what is there; else the folder must hold no run.
        overwrite: delete a run that is there.

    Raises:
        StorageError: if another process holds the folder, a run is there already, or there is none to resume; or if
            files are there and none is a run's.
    """

    def __init__(self, path: Path, resume: bool = False, overwrite: bool = False) -> None:
        self.path = path
        if not resume:
            refuse_foreign(path, "run", lambda entry: entry.name in _OWN)
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]
        self._lock = lock_folder(path)
        try:
            holds_run = self._holds_run()
            if holds_run and overwrite and not resume:
                self._clear()
            elif holds_run and not resume:
                raise StorageError(f"{path} already holds a run; use --resume, --overwrite or another --out")
            elif resume and not self.config_path.exists():
                raise StorageError(f"{path} holds no run to resume (no config.yaml)")
            with storage_errors(path):
                for folder in (self.checkpoints, self.figures):
                    folder.mkdir(exist_ok=True)
                if holds_run:
                    self._remove_drafts()
                elif not resume:
                    self.ledger_path.unlink(missing_ok=True)
        except BaseException:
            self._leave_nothing()
            self.close()
            raise

    @property
    def config_path(self) -> Path:
        """Resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        """One JSON object per round."""
        return self.path / "metrics.jsonl"

    @property
    def ledger_path(self) -> Path:
        """The privacy ledger."""
        return self.path / "ledger.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the round loop."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The adapter in PEFT's format."""
        return self.path / "adapter"

    @property
    def figures(self) -> Path:
        """Drawings."""
        return self.path / "figures"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def services(self) -> tuple[Path, ...]:
        """What MLflow and Weights & Biases keep here, where they were asked for and have no other place."""
        return self.path / "mlruns", self.path / "wandb"

    @property
    def page(self) -> Path:
        """The run as a page for readers; there once the run has ended."""
        return self.path / "report.html"

    @property
    def summary_path(self) -> Path:
        """The run's row in result tables; there once the run has ended."""
        return self.path / "summary.json"

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._leave_nothing()
        self.close()

    def _holds_run(self) -> bool:
        """Whether a run began here.

        The configuration is written right after the ledger's first line. A process that was killed between the two
        has opened nothing and left nothing to resume.
        """
        if self.config_path.exists() or not self.ledger_path.exists():
            return self.config_path.exists()
        with storage_errors(self.ledger_path):
            return self.ledger_path.read_bytes().count(b"\n") > 1

    def _leave_nothing(self) -> None:
        """Remove what was made for a run that never began: folders without files, and the lock of a new one."""
        if self.ledger_path.exists() or self.config_path.exists():
            return
        with contextlib.suppress(OSError):  # somebody put a file there
            for folder in (self.checkpoints, self.figures):
                if folder.is_dir():
                    folder.rmdir()
            if self.path in self._made:
                (self.path / ".lock").unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()

    def _remove_drafts(self) -> None:
        """Files that a killed process was about to put in their places; nobody else writes while the lock is held."""
        for file in (self.config_path, self.metrics_path, self.page, self.summary_path):
            draft_of(file).unlink(missing_ok=True)
        shutil.rmtree(draft_of(self.adapter), ignore_errors=True)
        for folder, name in ((self.checkpoints, "round-*"), (self.figures, "*"), (self.adapter, "*")):
            for draft in folder.glob(draft_of(folder / name).name):
                draft.unlink()

    def _clear(self) -> None:
        # Only what a run writes: a mistyped --out must not cost somebody else's files.
        for file in (self.metrics_path, self.ledger_path, self.page, self.summary_path, self.config_path):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.adapter, self.figures, self.tensorboard, *self.services):
            shutil.rmtree(folder, ignore_errors=True)
