"""The sections of the page on reliability, each from what one recorded check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bench.crashes.page import FAULTS
from bench.markdown import table
from bench.membership.page import label
from bench.records import Part
from bench.soak.page import SOAKS

__all__ = ["SECTIONS", "soak_length"]

_LINK = "../bench/results/reliability"


def _crashes(part: Part) -> list[str]:
    rows = [
        (FAULTS[kind], f"not run: {row['not_run']}", "", "")
        if "not_run" in row
        else (FAULTS[kind], f"{row['survived']} / {row['tried']}", len(row["violations"]), f"`{row['command']}`")
        for kind, row in part["rows"].items()
    ]
    return [
        "A run of ten rounds is hit by one to six faults and resumed. Afterwards the ledger counts at least what was "
        "opened, no two sums share noise, every file is whole, a second process is refused, and a run whose rounds "
        "were each opened once equals the uninterrupted one bit for bit.",
        "",
        *table(("fault", "survived / tried", "violations", "command"), rows),
        "",
        _more("crashes", part, "where they hit, and what was resumed"),
    ]


def _fuzz(part: Part) -> list[str]:
    rows = [
        (
            row["what"], f"{row['tried']:,}", f"{row['refused']:,}", f"{row['accepted']:,}", len(row["violations"]),
            f"{row['peak'] / 2**20:.1f} MiB",
        )
        for row in part["rows"].values()
    ]  # fmt: skip
    return [
        "Everything that reaches Sotto from outside, with bytes flipped, cut, spliced and repeated, and with values of "
        "odd kinds and sizes. Refused means in one sentence; accepted, with the meaning that the bytes have; nothing "
        f"else may happen: no other exception, no hang, no memory that grows beyond a bound. {_fuzz_commands(part)}.",
        "",
        *table(("input", "tried", "refused", "accepted", "violations", "peak memory"), rows),
        "",
        _more("fuzz", part, "the command of each row"),
    ]


def _fuzz_commands(part: Part) -> str:
    """As few commands as give all rows: those that differ in their surface alone are one."""
    surfaces: dict[str, list[str]] = {}
    for name, row in part["rows"].items():
        surfaces.setdefault(row["command"].replace(f" --surfaces {name}", ""), []).append(name)
    most = max(surfaces.values(), key=len)
    commands = [next(command for command, names in surfaces.items() if names is most)]
    for command, names in surfaces.items():
        if names is not most:
            commands.append(command.replace(" --out DIR", f" --out DIR --surfaces {' '.join(names)}"))
    return f"Command{'s' * (len(commands) > 1)}: {', then '.join(f'`{command}`' for command in commands)}"


def _attacks(part: Part) -> list[str]:
    rows = [
        (
            name, row["attacker"], row["tries"],
            f"{row['by']}" if not row["document"] else f"**not caught**, as {row['document']} says",
            row["gained"] if row["document"] else row["without"],
        )
        for name, row in part["rows"].items()
    ]  # fmt: skip
    return [
        f"`{part['command']}` attacks the real parties, clients and files. The last column is what the attacker gains "
        "once the check that caught it is taken away, so that each check is shown to matter.",
        "",
        *table(("attack", "attacker", "what it tries", "caught by", "gains without a check"), rows),
        "",
        _more("attacks", part, "the sentences with which they are refused"),
    ]


def _audit(part: Part) -> list[str]:
    groups: dict[tuple[str, str], list[Part]] = {}
    for row in part["rows"]:
        if row["kind"] != "planted":
            groups.setdefault((row["mechanism"], row["trust"]), []).append(row)
    honest = [
        (
            mechanism, trust, len(rows),
            f"{min(r['claimed'] for r in rows):.2f} to {max(r['claimed'] for r in rows):.2f}",
            f"{min(r['bound'] for r in rows):.2f} to {max(r['bound'] for r in rows):.2f}",
            f"{max(r['ratio'] for r in rows):.2f}",
        )
        for (mechanism, trust), rows in groups.items()
    ]  # fmt: skip
    planted = [
        (
            f"{row['fault']}: {row['mechanism']}, {row['trust']}, {row['unit']}", f"{row['claimed']:.2f}",
            f"{row['bound']:.2f}", f"{sum(b > row['claimed'] for b in row['bounds'])} of {len(row['bounds'])}",
        )
        for row in part["rows"] if row["kind"] == "planted"
    ]  # fmt: skip
    return [
        f"One-run audit of f-DP (Mahloujifar, Melis, Chaudhuri 2024) with 2,000 canaries through the real pipe: "
        f"`{part['command']}`. Bounds are at {part['confidence']:.0%} confidence, delta {part['delta']:g}.",
        "",
        f"![bounds beside claims]({_LINK}/audit.png)",
        "",
        *table(("mechanism", "trust", "settings", "claimed epsilon", "median bound", "largest bound / claim"), honest),
        "",
        *table(("planted fault", "claimed", "median bound", "caught"), planted),
        "",
        _more("audit", part, "every setting"),
    ]


def _variance(part: Part) -> list[str]:
    rows = []
    for name, one in part["engines"].items():
        if "not_run" in one:
            rows.append((name, "", "", "", f"not run: {one['not_run']}"))
            continue
        held = [row["holds"] for row in part["rows"] if row["engine"] == name]
        rows.append((name, one["possible"], one["measured"], f"{sum(held)} of {len(held)}", one["rest"]))
    worst = max(abs(row["ratio"] - 1) for row in part["rows"])
    planted = Counter(row["name"].split(":")[0] for row in part["planted"])
    caught = Counter(row["name"].split(":")[0] for row in part["planted"] if row["caught"])
    return [
        f"Sums of records that are all zeros are noise and nothing else: `{part['command']}` compares their variance "
        f"with the ledger's, with and without drop-outs, in every combination of mechanism, trust, unit, backend, "
        f"giver of noise and drop-out scheme that the configuration allows. The farthest is {worst:.2%} off, with "
        f"{part['rows'][0]['coordinates']:,} coordinates.",
        "",
        *table(("engine", "combinations possible", "measured", "sums that hold", "the others"), rows),
        "",
        *table(("planted fault", "caught"), [(name, f"{caught[name]} of {count}") for name, count in planted.items()]),
        "",
        _more("variance", part, "every cell"),
    ]


def _membership(part: Part) -> list[str]:
    rows = []
    for name, row in part["rows"].items():
        best = row["attacks"].get("user calibrated", row["attacks"]["calibrated"])
        low, high = best["auc_ci"]
        found = best["tpr"]["0.01"]
        rows.append(
            (
                label(name, row), {"example": "sequence", "client": "user"}[row["unit"]],
                f"{best['auc']:.3f} ({low:.3f} to {high:.3f})", "too few" if found is None else f"{found:.1%}",
                f"{row['accuracy']:.2%}",
            )
        )  # fmt: skip
    return [
        f"Who reads a released adapter guesses who was trained on, by the loss before and after. Posts of Stack "
        f"Overflow, few users, many rounds: `{part['command']}`.",
        "",
        f"![members found by false alarms]({_LINK}/membership.png)",
        "",
        *table(
            ("arm", "unit", "AUC of the calibrated loss (95 %)", "members found at 1 % false alarms", "accuracy"), rows
        ),
        "",
        _more("membership", part, "what is claimed, what it allows, and the limits of such an attack"),
    ]


def _leaks(part: Part) -> list[str]:
    rows = [(name, row["what"], row["lives"], len(row["found"]), row["control"]) for name, row in part["rows"].items()]
    return [
        f"Keys, seeds, vectors, records and names are looked for in all encodings in everything that commands write, "
        f"whole and broken ones: `{part['command']}`. The control is a traceback with local variables, which Sotto "
        "never makes: the same search must find secrets there.",
        "",
        *table(("case", "what", "commands", "secrets found", "found in the control"), rows),
        "",
        _more("leaks", part, "what was looked for, and the few places where it may be"),
    ]


def _sampler_timing(part: Part) -> list[str]:
    rows = [
        (row["sampler"], row["sigma"], f"{row['t']:+.1f}", f"{row['t_shuffled']:+.1f}", _slower(row["median_ns"]))
        for row in part["rows"]
    ]
    return [
        "Whether the time of a small batch tells how large its draws are, as in dudect (Reparaz, Balasch, Verbauwhede "
        f"2017): `{part['command']}`. |t| above 4.5 is evidence. **It does, a little**: SECURITY.md says what depends "
        "on what. A run draws a whole vector at once, and only that sum of many draws could be timed.",
        "",
        *table(("sampler", "sigma", "t, small against large", "t, shuffled", "medians apart"), rows),
        "",
        _more("sampler_timing", part, "counts of words and decisions beside the times"),
    ]


def _slower(medians: Sequence[float]) -> str:
    low, high = medians
    return f"{high / low - 1:+.2%}"


def soak_length(row: Part) -> str:
    if "opened" in row:
        return f"{row['seconds'] / 60:.0f} minutes, {row['opened']:,} sums opened of {row['rounds']:,} rounds"
    return f"{row['rounds_watched']:,} rounds watched"


def _slope(fit: Part | None) -> str:
    if fit is None:
        return "not counted"
    return f"{fit['a_round']:,.0f} ({fit['low']:,.0f} to {fit['high']:,.0f})"


def _early_late(count: Part) -> str:
    return f"{count['before']:g} / {count['after']:g}"


def _soak(part: Part) -> list[str]:
    rows = []
    for name, row in part["rows"].items():
        for who, process in row["processes"].items():
            handles = ", ".join(f"{key} {_early_late(process[key])}" for key in ("descriptors", "threads", "children"))
            rows.append((SOAKS[name], who, _slope(process["uss"]), _slope(process.get("objects")), handles))
    commands = [f"* {SOAKS[name]}: {soak_length(row)}; `{row['command']}`" for name, row in part["rows"].items()]
    return [
        "Growth over the second half of a long run, by Theil-Sen's slope and its 95 % interval. A run's files grow by "
        "the lines that each round adds to ledger, metrics and TensorBoard, and by nothing else.",
        "",
        f"![memory and handles over time]({_LINK}/soak.png)",
        "",
        *table(("soak", "process", "bytes a round", "Python objects a round", "handles, early / late"), rows),
        "",
        *commands,
        "",
        _more("soak", part, "what was done to them, files and processor time"),
    ]


def _more(name: str, part: Part, what: str) -> str:
    return f"[{what[0].upper()}{what[1:]}]({_LINK}/{name}.md). Measured: {'; '.join(part['environment'])}."


SECTIONS: dict[str, tuple[str, Callable[[Part], list[str]]]] = {
    "crashes": ("Crashes", _crashes),
    "soak": ("Long runs", _soak),
    "fuzz": ("Malformed inputs", _fuzz),
    "attacks": ("Attacks", _attacks),
    "audit": ("Audit of epsilon", _audit),
    "variance": ("Variance of the noise", _variance),
    "membership": ("Membership inference", _membership),
    "leaks": ("Secrets", _leaks),
    "sampler_timing": ("Timing of the samplers", _sampler_timing),
}
