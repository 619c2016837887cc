"""What a cut power leaves at a ledger's end: a last line that is half written, or whole without its newline.

Takes and gives bytes. It must never touch a line that is whole: only `append` knows that a line was never written out,
and it did not return for one that is torn, so nothing was opened for it.
"""

import json
import os

__all__ = ["without_torn_end", "write_end"]


def without_torn_end(content: bytes) -> tuple[bytes, str]:
    """A ledger's bytes without a torn last line, and what was done; the header is never cut.

    A line that is whole but for its newline counts, for it may be one that had reached the disk.
    """
    end = content.rfind(b"\n") + 1
    if end in (0, len(content)):
        return content, ""
    try:
        json.loads(content[end:])
    except (ValueError, RecursionError):
        return content[:end], "was torn, as when the power is cut, and was cut off; nothing had been opened for it"
    return content + b"\n", "had lost its newline, which was put back"


def write_end(descriptor: int, content: bytes, before: int) -> None:
    """Make the file `content`, which differs from the `before` bytes that it has at the end only."""
    if len(content) < before:
        os.ftruncate(descriptor, len(content))
    else:
        os.write(descriptor, content[before:])
    os.fsync(descriptor)
