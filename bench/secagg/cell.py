"""One cell of `bench.secagg`: rounds of secure aggregation and plaintext sums of the same vectors, in turns.

Takes numbers of clients, coordinates and parties, and a folder; gives a row of costs. Both read files that were written
just before, so that both come from the page cache wherever memory holds them. What is opened must be the plaintext sum.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.processes import busy_seconds, cpu_seconds, disk_bytes, reset_peak, resident_mib
from secagg import ClientMessage, RoundSpec, SmpcAggregator
from secagg.encoding import FixedPoint
from secagg.envelopes import SealedMessage, seal, upload_bytes
from secagg.packing import packed_bytes
from secagg.party.spool import SpooledParts, SpoolWriter
from secagg.randomness import Keystream
from secagg.ring import add_wrap
from secagg.sharing import split

__all__ = ["Cell", "measure_cell", "plaintext_sum", "ring_of"]

CLIP_STEPS = 2**19  # clip norm times scale
NOISE_MULTIPLIER = 8  # of the sum, for which the ring has room
RUN = "bench"
# Of what parties read at once, and hold decrypted.
_BATCH_MESSAGES, _BATCH_BYTES = 256, 32 * 2**20


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Attributes:
        clients, length, parties: how many.
    """

    clients: int
    length: int
    parties: int

    @property
    def gigabytes(self) -> float:
        """On disk at the most: int64 vectors and sealed uploads."""
        return self.clients * (8 * self.length + packed_bytes(self.length, ring_of(self.clients))) / 1e9


def ring_of(clients: int) -> int:
    """Width of the ring for the sum of so many vectors and its noise."""
    return FixedPoint(CLIP_STEPS).ring_bits(clients, 1.0, NOISE_MULTIPLIER * CLIP_STEPS)


def measure_cell(cell: Cell, folder: Path, repeats: int = 3, timeout_s: float = 600.0) -> dict[str, Any]:
    """Costs of one cell: medians over `repeats` rounds, in each of which every client sends a fresh message.

    Args:
        cell: what to measure.
        folder: an existing folder for the files, which are deleted.
        repeats: rounds.
        timeout_s: longest time for any answer of a party.

    Raises:
        RuntimeError: if the opened sum is not the plaintext sum.
    """
    vectors = folder / "vectors"
    with SmpcAggregator(cell.parties, timeout_s, spool=folder) as aggregator:
        _warm_up(aggregator)
        try:
            _write_vectors(vectors, cell)
            rounds = [_one_round(aggregator, cell, vectors, attempt) for attempt in range(repeats)]
        finally:
            vectors.unlink(missing_ok=True)
    row: dict[str, Any] = {
        "clients": cell.clients,
        "length": cell.length,
        "parties": cell.parties,
        "bits": ring_of(cell.clients),
    }
    row |= {name: _median([one[name] for one in rounds]) for name in rounds[0]}
    row["ratio"] = statistics.median(one["round_seconds"] / one["plaintext_seconds"] for one in rounds)
    timed = [f"{side}_{what}" for side in ("round", "plaintext") for what in ("seconds", "others", "disk_bytes")]
    row["rounds"] = [{name: one[name] for name in timed} for one in rounds]
    row["upload_over_float32"] = row["upload_bytes"] / (4 * cell.length)
    return row | {"repeats": repeats, "load": os.getloadavg()[0]}


def _median(values: list[Any]) -> Any:
    """The median; of lists, party by party."""
    if isinstance(values[0], list):
        return [statistics.median(column) for column in zip(*values, strict=True)]
    return statistics.median(values)


def _warm_up(aggregator: SmpcAggregator) -> None:
    """A first round of two clients, so that starting the parties and loading code counts nowhere."""
    spec = RoundSpec(RUN, 1, 0, range(2), 64, 2, scale=CLIP_STEPS, bits=ring_of(2))
    aggregator.open_round(spec)
    for client in spec.clients:
        shares = split(np.ones(64, dtype=np.int64), aggregator.parties, Keystream.system(), spec.bits)
        aggregator.submit(ClientMessage(RUN, 1, 0, (client,), shares))
    aggregator.close()


def _one_round(aggregator: SmpcAggregator, cell: Cell, vectors: Path, attempt: int) -> dict[str, Any]:
    """Seal everything, then plaintext and parties one after the other; which one begins alternates."""
    spec = RoundSpec(
        RUN, 2, attempt, range(cell.clients), cell.length, cell.clients, scale=CLIP_STEPS, bits=ring_of(cell.clients)
    )
    result: dict[str, Any] = {}
    names: list[Path] = []
    try:
        places, result["client_seconds"] = _seal_all(aggregator, spec, vectors, names)
        os.sync()  # what is still written back while the clock runs would hit one side only
        turns = [_plaintext_turn, _parties_turn]
        for turn in turns if attempt % 2 == 0 else turns[::-1]:
            result |= turn(aggregator, spec, vectors, places)
    finally:
        for name in names:
            name.unlink(missing_ok=True)
    if not np.array_equal(result.pop("opened"), result.pop("plain")):
        raise RuntimeError(f"{cell}: the opened sum is not the plaintext sum")
    return result


def _plaintext_turn(
    aggregator: SmpcAggregator, spec: RoundSpec, vectors: Path, places: list[list[SpooledParts]]
) -> dict[str, Any]:
    disk, busy, own, started = disk_bytes(), busy_seconds(), cpu_seconds("self"), time.perf_counter()
    total = plaintext_sum(vectors, spec.length)
    seconds = time.perf_counter() - started
    others = max(0.0, busy_seconds() - busy - (cpu_seconds("self") - own)) / seconds
    return {
        "plaintext_seconds": seconds,
        "plaintext_others": others,
        "plaintext_disk_bytes": disk_bytes() - disk,
        "plain": total,
    }


def plaintext_sum(path: Path, length: int) -> NDArray[np.int64]:
    """Sum mod 2^64 of a file's int64 vectors of `length`, each read into the same buffer."""
    total, vector = np.zeros(length, dtype=np.int64), np.empty(length, dtype=np.int64)
    with path.open("rb", buffering=0) as file:
        while _read_all(file, vector.view(np.uint8).data):
            add_wrap(total, vector)
    return total


def _read_all(file: Any, view: memoryview) -> bool:
    """Fill `view`; False at the end of the file."""
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            return False
        done += got
    return True


def _parties_turn(
    aggregator: SmpcAggregator, spec: RoundSpec, vectors: Path, places: list[list[SpooledParts]]
) -> dict[str, Any]:
    for pid in aggregator.pids:
        reset_peak(pid)
    before = [resident_mib("VmRSS", pid) for pid in aggregator.pids]
    aggregator.open_round(spec)
    cpu = [cpu_seconds(pid) for pid in aggregator.pids]
    disk, busy, own = sum(map(disk_bytes, aggregator.pids)), busy_seconds(), cpu_seconds("self")
    started = time.perf_counter()
    for batch in places:
        aggregator.submit_spooled(batch)
    submitted = time.perf_counter()
    opened = aggregator.close()
    done = time.perf_counter()
    cpu = [cpu_seconds(pid) - was for pid, was in zip(aggregator.pids, cpu, strict=True)]
    others = max(0.0, busy_seconds() - busy - sum(cpu) - (cpu_seconds("self") - own)) / (done - started)
    return {
        "round_seconds": done - started,
        "round_others": others,
        "round_disk_bytes": sum(map(disk_bytes, aggregator.pids)) - disk,
        "submit_seconds": submitted - started,
        "close_seconds": done - submitted,
        "upload_bytes": upload_bytes(spec, aggregator.deployment),
        "received_bytes": [sum(batch[rank].size for batch in places) for rank in range(aggregator.parties)],
        "bytes_between_parties": aggregator.bytes_between_parties,
        "before_mib": before,
        "peak_mib": [resident_mib("VmHWM", pid) for pid in aggregator.pids],
        "cpu_seconds": cpu,
        "opened": opened.total,
    }


def _write_vectors(path: Path, cell: Cell) -> None:
    """Fresh vectors of `-CLIP_STEPS <= v < CLIP_STEPS`."""
    source = Keystream.system()
    with path.open("wb") as file:
        for _ in range(cell.clients):
            file.write((source.words(cell.length).view(np.int64) >> (64 - CLIP_STEPS.bit_length())).tobytes())


def _seal_all(
    aggregator: SmpcAggregator, spec: RoundSpec, vectors: Path, names: list[Path]
) -> tuple[list[list[SpooledParts]], float]:
    """Every client's parts in the spool by batches, and the median seconds that one client takes to split and seal.

    Adds the files it makes to `names`.
    """
    deployment, key, source = aggregator.deployment, aggregator.signing_key, Keystream.system()
    name = f"parts{spec.attempt}"
    names.extend(vectors.with_name(f"{name}.{rank}") for rank in range(aggregator.parties))
    size = max(1, min(_BATCH_MESSAGES, _BATCH_BYTES // upload_bytes(spec, deployment)))
    places: list[list[SpooledParts]] = []
    seconds: list[float] = []
    waiting: list[SealedMessage] = []
    with SpoolWriter([vectors.parent] * aggregator.parties, name) as spool:
        for client, vector in enumerate(_vectors(vectors, spec.length)):
            started = time.perf_counter()
            shares = split(vector, aggregator.parties, source, spec.bits)
            message = ClientMessage(spec.run, spec.round, spec.attempt, (client,), shares)
            waiting.append(seal(message, spec, deployment, key))
            seconds.append(time.perf_counter() - started)
            if len(waiting) == size:
                places.append(spool.write(waiting))
                waiting = []
        if waiting:
            places.append(spool.write(waiting))
    return places, statistics.median(seconds)


def _vectors(path: Path, length: int) -> Iterator[NDArray[np.int64]]:
    """A file's vectors, each valid until the next."""
    vector = np.empty(length, dtype=np.int64)
    with path.open("rb", buffering=0) as file:
        while _read_all(file, vector.view(np.uint8).data):
            yield vector
