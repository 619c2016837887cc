"""A small disk of its own that fails when told to: full, read-only after an error, or without power.

An ext4 file system in a file, on a loop device; needs root, mount and mkfs.ext4. Nothing outside of its folder is
touched, and `Disk.close` unmounts it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Disk", "DiskMissing", "why_no_disk"]

_MIB = 6
_GOING_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NO_LOG_FLUSH = 2  # the journal in memory is lost too, as in a power cut


class DiskMissing(Exception):
    """No disk can be made here."""


def why_no_disk() -> str | None:
    """Why disks cannot be made to fail here; None if they can."""
    if os.geteuid():
        return "needs root, to mount a file system"
    for tool in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(tool) is None:
            return f"{tool} is missing"
    return None


class Disk:
    """A mounted file system of 6 MiB with blocks of 1 KiB.

    Args:
        scratch: folder for its file and its mount point.

    Raises:
        DiskMissing: if it cannot be made or mounted.
    """

    def __init__(self, scratch: Path) -> None:
        self._image, self.path = scratch / "disk.ext4", scratch / "disk"
        self._mounted = False
        self.path.mkdir(exist_ok=True)
        with self._image.open("wb") as file:
            file.truncate(_MIB * 2**20)
        _call("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", str(self._image))
        self._mount()

    def fill(self, left: int) -> None:
        """Take all space but `left` bytes or so."""
        room = os.statvfs(self.path)
        size = room.f_bavail * room.f_frsize - left
        with open(self.path / "filler", "wb") as file:
            while size > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                    return
                except OSError:  # its own blocks' table, and what others have asked for meanwhile, take room too
                    size -= room.f_frsize

    def free(self) -> None:
        """Give the space back."""
        (self.path / "filler").unlink(missing_ok=True)

    def make_read_only(self) -> None:
        """What ext4 does after an error: everything that is open fails too."""
        _call("mount", "-o", "remount,abort", str(self.path))

    def cut_power(self) -> None:
        """Nothing that is not on the disk by now will ever be."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _GOING_DOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def restart(self) -> None:
        """Mount it anew, which recovers its journal, once nobody holds it."""
        self.close()
        subprocess.run(["e2fsck", "-p", str(self._image)], capture_output=True, check=False)
        self._mount()

    def close(self) -> None:
        """Unmount; legal more than once."""
        for last in (False,) * 20 + (True,):
            if not self._mounted:
                return
            try:
                _call("umount", str(self.path))
                self._mounted = False
            except DiskMissing:
                if last:
                    raise
                time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mount(self) -> None:
        # commit: metadata reaches the disk by fsync in these tests, hardly ever by itself.
        _call("mount", "-o", "loop,commit=60", str(self._image), str(self.path))
        self._mounted = True


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DiskMissing(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise DiskMissing(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
