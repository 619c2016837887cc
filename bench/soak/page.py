"""From rows of `bench.soak` to a Markdown page."""

from __future__ import annotations

from typing import Any

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["SOAKS", "soak_page"]

SOAKS = {
    "rounds": "rounds of a run, aggregation in the clear",
    "rounds-smpc": "rounds of a run under SMPC, three parties",
    "clients": "clients, parties and links that fail",
}
_MIB = 2**20


def soak_page(part: Part) -> str:
    """One page of what was run and whether it stayed flat."""
    lines = [
        "# Soak: long runs, and clients under load",
        "",
        *measured(part["environment"]),
        "Other jobs ran beside it: times are noisy, memory and handles are not.",
        "",
        "Flat means, by limits fixed before: the 95 % interval of Theil-Sen's slope of private memory (USS) over the "
        "second half stays at or below the row's limit a round, that of Python's tracked objects too; the fewest "
        "descriptors, threads and children late are not above the fewest early (rows recorded up to 2026-11-27 went by "
        "their medians); processor time a round grows by no more "
        "than the row's share over the second half. What grows by design: the run folder's files, and a party's memory "
        "of what it opened (`secagg.openings`: names and digests for ever, ids up to 32 MiB).",
        "",
    ]
    for kind, row in part["rows"].items():
        lines += [f"## {kind}: {SOAKS[kind]}", "", f"`{row['command']}`", "", *_facts(row), ""]
        lines += [*table(*_processes(row)), ""]
        if row["problems"]:
            lines += ["What did not hold:", "", *(f"* {problem}" for problem in row["problems"]), ""]
        else:
            lines += ["Everything held.", ""]
    return "\n".join(lines)


def _facts(row: Row) -> list[str]:
    if "rounds_watched" in row:
        grown = row["files"]["bytes_a_round"]
        return [
            f"{row['rounds_watched']:,} of {row['rounds_asked']:,} rounds watched in {row['seconds']:.0f} s; "
            f"{row['openings']:,} openings in the ledger, {row['refused']} rounds refused "
            f"({'; '.join(row['sentences']) or 'none'}). "
            f"Files grow by {grown['all']:g} bytes a round: ledger {grown['ledger.jsonl']:g}, metrics "
            f"{grown['metrics.jsonl']:g}, TensorBoard {grown['tensorboard']:g}, checkpoints {grown['checkpoints']:g}; "
            f"{row['files']['files']} files at the end.",
        ]
    harm, did = row["harm"], row["clients_did"]
    sizes = row["clients_in_a_sum"]
    return [
        f"{row['seconds']:.0f} s, {row['rounds']:,} rounds: {row['opened']:,} opened "
        f"({row['opened_in_a_later_attempt']} of them in a later attempt), {row['refused']} refused, "
        f"{row['given_up']} given up; {row['attempts_failed']} attempts lost to parties. Every opened sum equals that "
        f"of the clients its set names ({sizes.get('least')} to {sizes.get('most')}, median {sizes.get('median')}), "
        "or it is listed below. "
        f"Longest attempt {row['longest_attempt_s']:.1f} s (bound {row['longest_allowed_s']:g} s).",
        "",
        "Harm: " + ", ".join(f"{name} {count}" for name, count in sorted(harm.items())) + ". "
        f"{row['links']['connections']:,} connections to parties, {row['links']['cut']} of them cut. "
        "Clients' answers: "
        + ", ".join(f"{name} {count:,}" for name, count in sorted(did.items()) if name != "alive")
        + f". {row['messages_in_sums']:,} messages are in sums, {row['messages_refused_by_parties']:,} were refused by "
        "the parties.",
        "",
        *(
            f'* {kind}: {count} x "{sentence}"'
            for kind in ("refused", "failed")
            for sentence, count in row[f"{kind}_sentences"].items()
        ),
    ]


def _processes(row: Row) -> tuple[list[str], list[list[Any]]]:
    header = [
        "process", "samples", "private MiB, half way / end", "bytes a round (95 %)", "limit", "objects a round (95 %)",
        "limit", "descriptors", "threads", "children", "CPU s a round", "growth over second half (95 %)",
    ]  # fmt: skip
    body = []
    for who, found in row["processes"].items():
        if "uss" not in found:
            continue
        memory, objects, limits = found["uss"], found.get("objects"), found["limits"]
        cpu = found.get("cpu")
        body.append(
            [
                who, found["samples"], f"{memory['first'] / _MIB:.1f} / {memory['last'] / _MIB:.1f}", _span(memory),
                f"{limits['bytes_a_round']:g}", _span(objects) if objects else "not asked",
                f"{limits['objects_a_round']:g}", *(_pair(found[n]) for n in ("descriptors", "threads", "children")),
                f"{cpu['seconds_a_round']:.4f}" if cpu else "",
                f"{cpu['growth']:+.1%} ({cpu['low']:+.1%} to {cpu['high']:+.1%})" if cpu else "",
            ]
        )  # fmt: skip
    return header, body


def _span(found: Row) -> str:
    return f"{found['a_round']:.1f} ({found['low']:.1f} to {found['high']:.1f})"


def _pair(found: Row) -> str:
    return f"{found['before']} / {found['after']}" if found else ""
