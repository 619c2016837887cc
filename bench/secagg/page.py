"""From measured cells of `bench.secagg` to a Markdown page."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["aggregation_page"]


def aggregation_page(part: Part) -> str:
    """One page of what was measured and what was not."""
    lines = ["# Secure aggregation", "", *measured(part["environment"]), ""]
    if part["rows"]:
        lines += [*_rounds(part["rows"]), ""]
    left_out = part.get("left_out", {"cells": []})
    if left_out["cells"]:
        cells = (f"{n:,} x {p:,} x {k} ({gb:.0f} GB)" for (n, p, k), gb in map(_left_out_cell, left_out["cells"]))
        lines += [f"Left out, files above {left_out['max_gb']:g} GB: {'; '.join(cells)}.", ""]
    if part.get("flower"):
        lines += [*_flower(part["flower"]), ""]
    return "\n".join(lines)


def _left_out_cell(row: Row) -> tuple[list[int], float]:
    return row["cell"], row["gigabytes"]


def _rounds(rows: list[Row]) -> list[str]:
    header = [
        "clients", "p", "parties", "bits", "client ms", "upload MB", "/ float32", "round s", "submit s", "close s",
        "plaintext s", "ratio", "received MB by party", "between parties MB", "peak MiB by party", "above before MiB",
        "others", "from disk MB", "rounds",
    ]  # fmt: skip
    body = []
    for row in rows:
        above = [peak - was for peak, was in zip(row["peak_mib"], row["before_mib"], strict=True)]
        body.append([
            f"{row['clients']:,}", f"{row['length']:,}", row["parties"], row["bits"],
            f"{row['client_seconds'] * 1e3:.2f}", f"{row['upload_bytes'] / 1e6:.3f}",
            f"{row['upload_over_float32']:.3f}", f"{row['round_seconds']:.3f}", f"{row['submit_seconds']:.3f}",
            f"{row['close_seconds']:.3f}", f"{row['plaintext_seconds']:.4f}", f"{row['ratio']:.2f}",
            _each(row["received_bytes"], 1e6, 2), f"{row['bytes_between_parties'] / 1e6:.2f}",
            _each(row["peak_mib"], 1, 0), _each(above, 1, 0),
            _both(row, "others", 1), _both(row, "disk_bytes", 1e6), row["repeats"],
        ])  # fmt: skip
    return [
        "Client: split and seal one vector. Round: from the first upload named to the opened sum, at parties that "
        "each read sealed uploads from a file. Plaintext: one thread reads the same vectors as int64 from one file "
        "and adds. Others: processor seconds a second that the rest of the machine's processes took of the "
        "round's and of the plaintext sum's. Submit: naming the files. "
        "From disk: what of the files the page cache had lost. "
        "Ratio: median of round / plaintext of the same repetition.",
        "",
        *table(header, body),
    ]


def _both(row: Row, what: str, unit: float) -> str:
    return f"{row[f'round_{what}'] / unit:.2f} / {row[f'plaintext_{what}'] / unit:.2f}"


def _each(values: list[float], unit: float, digits: int) -> str:
    return " / ".join(f"{value / unit:.{digits}f}" for value in values)


def _flower(rows: list[Row]) -> list[str]:
    header = ["clients", "p", "neighbours", "client s", "upload MB", "server s", "peak MiB", "load", "not run"]
    body = []
    for row in rows:
        client, server = row["client"], row["round"]
        why = "; ".join(f"{name}: {row[name]['not_run']}" for name in ("client", "round") if "not_run" in row[name])
        body.append([
            f"{row['clients']:,}", f"{row['length']:,}", row["neighbours"],
            f"{client['seconds']:.3f}" if "seconds" in client else "",
            f"{client['bytes'] / 1e6:.3f}" if "bytes" in client else "",
            f"{server['server_seconds']:.2f}" if "server_seconds" in server else "",
            f"{server['peak_mib']:.0f}" if "peak_mib" in server else "", f"{row['load']:.1f}", why,
        ])  # fmt: skip
    versions = {row[name]["flwr"] for row in rows for name in ("client", "round") if "flwr" in row[name]}
    return [
        "## Flower's SecAgg+",
        "",
        f"Its own workflow and client mod ({'; '.join(sorted(versions))}), nobody drops out, no transport. Client: all "
        "four stages. Server: everything but waiting for clients. Peak: server and all simulated clients in one "
        "process.",
        "",
        *table(header, body),
    ]
