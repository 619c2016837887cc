"""What secure aggregation costs a client and a round, beside plaintext sums of the same vectors and Flower's SecAgg+.

`python -m bench.secagg --out DIR` measures a grid of cells, goes on where it stopped, and says why it left a cell out.
Every cell writes the clients' vectors to one file as int64 and their sealed uploads to one file a party, in one folder
and just before they are read, so that both come from the page cache wherever memory holds them. The plaintext sum
reads vector after vector into one buffer and adds, in one thread. The parties read their parts themselves
(`SmpcAggregator.submit_spooled`); a round is everything from the first place named to the opened sum: reading,
signatures, decryption, refusal of duplicates, expansion of seeds, agreement, journal, opening. Splitting and sealing
are the client's and timed by themselves. Both sums must be equal in every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.command import add_scratch, parser_of
from bench.measure import environment
from bench.records import add_environment, load, store
from bench.secagg.cell import Cell, measure_cell
from bench.secagg.figure import draw
from bench.secagg.page import aggregation_page
from bench.secagg.peer import flower_cell

__all__ = ["main"]

LENGTHS, CLIENTS, PARTIES = (10**4, 10**5, 10**6, 10**7), (10, 100, 1000, 10_000), (2, 3, 5)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    options = _options().parse_args(arguments)
    if options.quick:
        options.lengths, options.clients, options.parties, options.repeats = [10**4], [10], [2, 3], 1
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "secagg.json"
    part = load(path)
    known = {tuple(row[key] for key in ("clients", "length", "parties")) for row in part["rows"]}
    add_environment(part, environment("cpu"))
    part.setdefault("flower", [])
    left_out = []
    for cell in [Cell(n, p, k) for p in options.lengths for n in options.clients for k in options.parties]:
        if cell.gigabytes > options.max_gb:
            left_out.append({"cell": [cell.clients, cell.length, cell.parties], "gigabytes": cell.gigabytes})
        elif (cell.clients, cell.length, cell.parties) not in known:
            part["rows"].append(_in_new_folder(cell, options))
            print(json.dumps(part["rows"][-1]), flush=True)
            store(path, part)
    part["left_out"] = {"max_gb": options.max_gb, "cells": left_out}
    known = {(row["clients"], row["length"]) for row in part["flower"]}
    for cell in [Cell(n, p, 1) for p in options.lengths for n in options.clients] if options.flower_python else []:
        if (cell.clients, cell.length) not in known:
            limits = options.flower_max_gb, options.flower_timeout
            cost = flower_cell(options.flower_python, cell.clients, cell.length, *limits)
            part["flower"].append({"clients": cell.clients, "length": cell.length, **cost, "load": os.getloadavg()[0]})
            print(json.dumps(part["flower"][-1]), flush=True)
            store(path, part)
    store(path, part)
    path.with_suffix(".md").write_text(aggregation_page(part))
    if part["rows"]:
        draw(part, path.with_suffix(".png"))
    return 0


def _in_new_folder(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="sotto-bench-", dir=options.scratch))
    try:
        return measure_cell(cell, folder, options.repeats)
    finally:
        shutil.rmtree(folder)


def _options() -> argparse.ArgumentParser:
    parser = parser_of("secagg", __doc__, "secagg.json, secagg.md and secagg.png")
    parser.add_argument("--quick", action="store_true", help="two small cells, one round each")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="coordinates")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--parties", type=int, nargs="+", default=PARTIES)
    parser.add_argument("--repeats", type=int, default=3, help="rounds of each cell")
    parser.add_argument("--max-gb", type=float, default=16.0, help="largest cell's files together")
    add_scratch(parser, "the files")
    parser.add_argument("--flower-python", help="interpreter that has flwr 1.41; without it Flower is left out")
    parser.add_argument("--flower-max-gb", type=float, default=8.0, help="memory for one simulation of Flower")
    parser.add_argument("--flower-timeout", type=float, default=600.0, help="seconds for one simulation of Flower")
    return parser


if __name__ == "__main__":
    sys.exit(main())
