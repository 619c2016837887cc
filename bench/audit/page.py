"""From what `bench.audit` found to a Markdown page."""

from __future__ import annotations

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["audit_page"]

_SETTING = ("mechanism", "trust", "unit", "backend", "noise_by", "dropout")


def audit_page(report: Part) -> str:
    """One page of claims and bounds."""
    rows = report["rows"]
    honest = [row for row in rows if row["kind"] != "planted"]
    planted = [row for row in rows if row["kind"] == "planted"]
    lines = [
        "# Privacy audit: bounds beside claims",
        "",
        *measured(report["environment"]),
        f"`{report['command']}`, {report['seconds']:.0f} s.",
        "",
        "A trial is a round of the real pipe (clipping to the grid, noise, shares, opening, ledger) whose protected "
        "contributions are canaries: records or updates longer than the clip norm, each along a coordinate of its own, "
        "in or out by a fair coin. The attacker sees what the audited view allows and names a quarter of the canaries; "
        "from how many it has right follows a lower bound on epsilon (Mahloujifar, Melis, Chaudhuri 2024, one run), "
        f"too high in at most {100 * (1 - report['confidence']):.0f} trial of 100. Noise of one clip norm, delta "
        f"{report['delta']:g}. Claimed: by the ledger, for the strongest adversary that the trust model names. A bound "
        "below its claim proves nothing by itself; one above proves a fault.",
        "",
    ]
    if honest:
        above, tried = sum(row["above_claim"] for row in honest), sum(row["tried"] for row in honest)
        lines += [f"**{above} of {tried} bounds are above their claim**, over {len(honest)} settings.", ""]
        lines += [*_honest(honest), ""]
    if planted:
        caught, tried = sum(row["caught"] for row in planted), sum(row["tried"] for row in planted)
        lines += ["## Planted faults", "", f"**Caught: {caught} of {tried}.** The ledger is not told of the fault.", ""]
        header = ["fault", "setting", "canaries", "claimed", "bound", "least bound", "caught"]
        body = [
            [
                row["fault"],
                _setting(row),
                row["canaries"],
                f"{row['claimed']:.2f}",
                f"{row['bound']:.2f}",
                f"{min(row['bounds']):.2f}",
                f"{'yes' if row['caught'] == row['tried'] else 'NO'}, {row['caught']} of {row['tried']}",
            ]
            for row in planted
        ]
        lines += [*table(header, body), "", "![bounds against claims](audit.png)", ""]
    return "\n".join(lines)


def _honest(rows: list[Row]) -> list[str]:
    """A line a setting; with two clients vanished on the same line."""
    found: dict[tuple[str, ...], dict[int, Row]] = {}
    for row in rows:
        found.setdefault((row["kind"], *(row[key] for key in _SETTING)), {})[row["vanished"]] = row
    header = ["mechanism", "trust", "unit", "backend", "noise by", "drop-out scheme", "canaries", "view"]
    header += ["claimed", "bound", "ratio", "claimed, two vanished", "bound", "ratio"]
    body = []
    for (kind, *setting), both in found.items():
        one = next(iter(both.values()))
        backend = setting[3] + {"real parties": " (real parties)", "two rounds": " (two rounds)"}.get(kind, "")
        cells = [*setting[:3], backend, *setting[4:], one["canaries"], one["view"]]
        for vanished in (0, 2):
            row = both.get(vanished)
            cells += ["", "", ""] if row is None else [f"{row[k]:.2f}" for k in ("claimed", "bound", "ratio")]
        body.append(cells)
    return table(header, body)


def _setting(row: Row) -> str:
    parts = [row[key] for key in ("mechanism", "trust", "unit", "backend")]
    if row["trust"] == "distributed":
        parts.append(f"noise by {row['noise_by']}")
    if row["vanished"]:
        parts.append(f"{row['vanished']} of {row['clients']} clients vanished")
    return ", ".join(parts)
