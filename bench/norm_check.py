"""What the norm check costs a client's vector, in a whole round of real parties and dealer, beside a round without it.

`python -m bench.norm_check --out DIR` writes `norm_check.json` and `norm_check.md`. A round is everything from the
first sealed message handed over to the opened sum, in the ring of 2^64; all parties and the dealer share this machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np

from bench.command import parser_of
from bench.markdown import table
from bench.measure import environment
from bench.records import Part, add_environment, load, store
from secagg import ClientMessage, RoundSpec, SmpcAggregator
from secagg.envelopes import SealedMessage, seal
from secagg.randomness import Keystream
from secagg.sharing import split

__all__ = ["main", "measure", "norm_check_page"]

BOUND = 2**20  # grid steps
LENGTHS, PARTIES, CLIENTS = (10**4, 10**5, 10**6, 10**7), (2, 3, 5), 6


def measure(length: int, parties: int, clients: int = CLIENTS, repeats: int = 3) -> dict[str, Any]:
    """Median seconds of rounds with and without the check, and what parties sent each other.

    Raises:
        RuntimeError: if the check let an oversize vector in, or dropped another.
    """
    with SmpcAggregator(parties, 600.0, norm_check=True) as aggregator:
        _round(aggregator, 64, clients, 0, BOUND)  # starts processes, loads code
        found: dict[int, list[tuple[float, int]]] = {0: [], BOUND: []}
        for attempt in range(1, repeats + 1):
            for bound in found:
                found[bound].append(_round(aggregator, length, clients, attempt, bound))
    seconds = {bound: statistics.median(one[0] for one in found[bound]) for bound in found}
    return {
        "length": length,
        "parties": parties,
        "clients": clients,
        "round_seconds": seconds[BOUND],
        "round_without_seconds": seconds[0],
        "check_seconds": (seconds[BOUND] - seconds[0]) / clients,
        "check_bytes": (found[BOUND][0][1] - found[0][0][1]) // clients,
        "repeats": repeats,
    }


def _round(aggregator: SmpcAggregator, length: int, clients: int, attempt: int, bound: int) -> tuple[float, int]:
    """Seconds of one round whose last client's vector is too long by a step, and bytes between parties."""
    spec = RoundSpec(f"norm check {bound}", 1, attempt, range(clients), length, 2, norm_bound=bound)
    aggregator.start()
    sealed = [_message(aggregator, spec, client) for client in range(clients)]
    aggregator.open_round(spec)
    started = time.perf_counter()
    for message in sealed:
        aggregator.submit(message)
    opened = aggregator.close()
    seconds = time.perf_counter() - started
    if opened.clients != set(range(clients - 1 if bound else clients)):
        raise RuntimeError(f"a check against {bound} left {sorted(opened.clients)} of {clients} clients")
    return seconds, aggregator.bytes_between_parties


def _message(aggregator: SmpcAggregator, spec: RoundSpec, client: int) -> SealedMessage:
    vector = np.zeros(spec.length, dtype=np.int64)
    vector[client] = BOUND + (client == len(spec.clients) - 1)
    shares = split(vector, aggregator.parties, Keystream.system())
    message = ClientMessage(spec.run, spec.round, spec.attempt, (client,), shares)
    return seal(message, spec, aggregator.deployment, aggregator.signing_key)


def norm_check_page(part: Part) -> str:
    """One page of what was measured."""
    lines = [
        "# The norm check",
        "",
        "Seconds a client, all parties and the dealer on the same cores; bytes that all parties send each other.",
        "",
        *table(
            ["p", "parties", "check, s a client", "round with, s", "round without, s", "MB a client"],
            [
                [
                    f"{row['length']:,}", row["parties"], f"{row['check_seconds']:.3f}", f"{row['round_seconds']:.3f}",
                    f"{row['round_without_seconds']:.3f}", f"{row['check_bytes'] / 1e6:.2f}",
                ]
                for row in part["rows"]
            ],
        ),
    ]  # fmt: skip
    clients = part["rows"][0]["clients"]
    return "\n".join([*lines, "", f"{clients} clients; medians. Measured: {'; '.join(part['environment'])}.", ""])


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("norm_check", __doc__, "norm_check.json and norm_check.md")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="coordinates")
    parser.add_argument("--parties", type=int, nargs="+", default=PARTIES)
    options = parser.parse_args(arguments)
    path = options.out / "norm_check.json"
    part = load(path)
    add_environment(part, environment("cpu"))
    known = {(row["length"], row["parties"]) for row in part["rows"]}
    for length in options.lengths:
        for parties in options.parties:
            if (length, parties) not in known:
                part["rows"].append(measure(length, parties))
                print(part["rows"][-1], flush=True)
                store(path, part)
    path.with_suffix(".md").write_text(norm_check_page(part))
    return 0


if __name__ == "__main__":
    sys.exit(main())
