"""Keep freed memory instead of giving it back to the operating system.

PyTorch's CPU tensors come from `malloc`, which maps large blocks anew each time: every step then pays for zeroed pages
(20 ms for 32 MiB on the machines measured), up to half the time of a small model's step. It changes no result. Only
glibc has these switches; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

# mallopt's parameters, from glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Serve large blocks from the heap and never shrink it; True if the C library took it."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(bool(mallopt(key, value)) for key, value in settings)
