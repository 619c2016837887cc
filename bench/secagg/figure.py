"""The figure of `bench.secagg`: a round's time over the plaintext sum's, and a party's memory."""

from __future__ import annotations

from pathlib import Path

from bench.records import Part
from experiments.figures import pyplot

__all__ = ["draw"]


def draw(part: Part, path: Path) -> None:
    """Time over the plaintext sum's, and a party's memory, by length."""
    plt = pyplot()
    figure, (times, memory) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    series = sorted({(row["clients"], row["parties"]) for row in part["rows"]})
    for clients, parties in series:
        rows = sorted(
            (row for row in part["rows"] if (row["clients"], row["parties"]) == (clients, parties)),
            key=lambda row: row["length"],
        )
        lengths, label = [row["length"] for row in rows], f"{clients:,} clients, {parties} parties"
        times.plot(lengths, [row["ratio"] for row in rows], "o-", label=label)
        memory.plot(lengths, [max(row["peak_mib"]) for row in rows], "o-", label=label)
    times.axhline(4, color="grey", linewidth=1)
    times.set_ylabel("round's time / plaintext sum's")
    memory.set_ylabel("largest peak of a party, MiB")
    for axis in (times, memory):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("coordinates")
    figure.legend(*times.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
