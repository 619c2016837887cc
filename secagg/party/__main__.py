"""One daemon, a party or the dealer, for a caller on this machine: `python -m secagg.party`, ended with its caller.

How `secagg.coordinator.local_daemons` starts them; organisations of a deployment run `sotto party` instead. It takes
options that only such a caller can give, and must never outlive it.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import shutil
import socket
import sys
import threading
from pathlib import Path

from secagg.errors import SottoError
from secagg.party.daemon import run_daemon

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main() -> None:
    """Run one daemon until the caller is gone."""
    parser = argparse.ArgumentParser(prog="secagg.party", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    role = parser.add_mutually_exclusive_group(required=True)
    role.add_argument("--rank", type=int)
    role.add_argument("--dealer", action="store_true")
    parser.add_argument("--listen-fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--lifeline", type=int, required=True, help="a socket that the caller holds the other end of")
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--parent", type=int, required=True, help="process id of the caller")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    folder: Path = options.config.parent
    lifeline = socket.socket(fileno=options.lifeline)
    threading.Thread(target=_end_with, args=(options.parent, lifeline, folder), daemon=True).start()

    def ready(line: str) -> None:
        logger.info(line)
        lifeline.send(b"1")

    try:
        if options.dealer:
            from secagg.party.dealer_daemon import run_dealer  # a party never needs it

            run_dealer(options.config, folder / "dealer", options.listen_fd, ready)
        keys = folder / f"party-{options.rank}"
        run_daemon(options.config, options.rank, keys, keys / "journal", options.listen_fd, ready, options.spool)
    except SottoError as error:
        logger.error("%s", error)
        sys.exit(1)


def _end_with(parent: int, lifeline: socket.socket, folder: Path) -> None:
    """End this process when its caller is gone.

    The main thread may be waiting for its peers, deaf to its sockets. Linux's parent-death signal will not do: it
    fires when the *thread* that started the daemon ends.
    """
    poller = select.poll()
    poller.register(lifeline, 0)  # hang-ups are always reported; a fork of the caller may hold its end open
    while not poller.poll(500) and os.getppid() == parent:
        pass
    # What the caller can no longer remove.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
