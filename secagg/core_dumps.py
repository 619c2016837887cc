"""No image of a process that holds keys or private vectors is left on disk when it crashes.

Takes and gives nothing. Where the system hands dumps to a program of its own (`kernel.core_pattern` with a pipe), that
program decides; systemd's and Ubuntu's honour the limit that is set here.
"""

from __future__ import annotations

import resource

__all__ = ["forbid_core_dumps"]


def forbid_core_dumps() -> None:
    """For this process and all that it starts from now on; cannot be taken back without privileges."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
