"""A command of the documents, typed in a shell as it stands."""

from __future__ import annotations

import subprocess

__all__ = ["typed"]


def typed(command, folder, shell):
    """What it printed, in `folder` and with `shell` as its environment; it must end well."""
    done = subprocess.run(["bash", "-ec", command], cwd=folder, env=shell, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
