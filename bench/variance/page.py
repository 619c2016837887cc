"""From what `bench.variance` measured to a Markdown page."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part, Row
from bench.variance.grid import CLIENTS, COLLUDERS, MULTIPLIER, N_MIN, PARTIES

__all__ = ["variance_page"]

_ENGINES = {
    "local": "Local engine, one process",
    "workers": "Local engine, two workers",
    "flower": "Flower engine, its nodes and source over a relay in this process",
    "ray": "Flower engine on Flower's own simulation (grid, records, Ray's actors)",
}
_KEYS = ("mechanism", "trust", "unit", "backend", "noise_by", "dropout_scheme")


def variance_page(report: Part) -> str:
    """One page: each engine's combinations, then the planted faults."""
    rows, faults = report["rows"], report["planted"]
    lines = [
        "# The variance of opened sums: realised beside promised",
        "",
        *measured(report["environment"]),
        f"`{report['command']}`, {report['seconds']:.0f} s.",
        "",
        f"Each run: {CLIENTS} clients, n_min {N_MIN}, {COLLUDERS} colluder, {PARTIES} real parties under SMPC, noise "
        f"multiplier {MULTIPLIER}, unseeded. Model, coins, gradients or local training, clip, noise, shares, opening "
        "and ledger are the product's; records are zeros, so that an opened sum is its noise. z is the multiplier that "
        "the ledger promises of the sum, checked against the scheme's definition (within a thousandth, never below). "
        "In brackets: realised over promised variance, chi-square interval that misses a right value once in a million "
        "cells.",
        "",
    ]
    for engine, counted in report["engines"].items():
        lines += [f"## {_ENGINES[engine]}", ""]
        if "not_run" in counted:
            lines += [f"Not run: {counted['not_run']}.", ""]
            continue
        own = [row for row in rows if row["engine"] == engine]
        held = sum(row["holds"] for row in own)
        worst = max(abs(row["ratio"] - 1) for row in own)
        lines += [
            f"**{held} of {len(own)} cells hold**; farthest from the promise: {worst:.2%}. The configuration refuses "
            f"{counted['refused']} of {counted['combinations']} combinations; of the {counted['possible']} others "
            f"{counted['measured']} are measured here, each with and without drop-outs. {counted['rest']}",
            "",
            *_cells(own),
            "",
        ]
    if faults:
        caught, tried = sum(row["caught"] for row in faults), sum(row["tried"] for row in faults)
        lines += [
            "## Planted faults",
            "",
            f"**Caught: {caught} of {tried}.** The ledger is not told of the fault. Caught: "
            "the promise is outside the interval, and what the fault should leave of the variance is inside.",
            "",
        ]
        header = [
            "fault",
            *(key.replace("_", " ") for key in _KEYS),
            "engine",
            "clients gone",
            "left by the fault",
            "realised / promised",
        ]
        body = [
            [
                row["fault"],
                *(row[key] for key in _KEYS),
                row["engine"],
                CLIENTS - row["survivors"],
                f"{row['ratio_expected']:.4f}",
                _ratio(row),
                "yes" if row["caught"] else "NO",
            ]
            for row in faults
        ]
        lines += [*table([*header, "caught"], body), ""]
    return "\n".join(lines)


def _cells(rows: list[Row]) -> list[str]:
    """A line a combination, with drop-outs and without on the same line."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
    header = ["mechanism", "trust", "unit", "backend", "noise by", "drop-out scheme"]
    header += ["z, all there", "realised / promised", "z, 30 % gone", "realised / promised", "holds"]
    body = []
    for combination, both in found.items():
        figures = [cell for row in both for cell in (f"{row['multiplier_promised']:.4f}", _ratio(row))]
        body.append([*combination, *figures, "yes" if all(row["holds"] for row in both) else "NO"])
    return table(header, body)


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
