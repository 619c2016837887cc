"""From rows of `bench.membership` to a Markdown page that says what was measured and what was not."""

from __future__ import annotations

from collections.abc import Sequence

from bench.markdown import measured, table
from bench.records import Part, Row

__all__ = ["LABELS", "label", "membership_page"]

LABELS = {
    "record-memorised": "no privacy, until it memorises",
    "record-none": "no privacy, gentle",
    "record-eps8": "ε = 8 a sequence",
    "record-eps2": "ε = 2 a sequence",
    "user-memorised": "no privacy, until it memorises",
    "user-none": "no privacy, gentle",
    "user-eps8": "ε = 8 a user",
}
_UNITS = {"example": "sequence", "client": "user"}


def label(name: str, row: Row) -> str:
    """An arm in plain words."""
    return LABELS.get(name, f"{name}, {_UNITS[row['unit']]}")


def membership_page(part: Part) -> str:
    """One page: how it was done, the attacks, the bounds, the null, the limits."""
    rows = part["rows"]
    lines = [
        "# Membership inference: a loss attack",
        "",
        *measured(part["environment"]),
        "",
        f"`{part['command']}`",
        "",
        *_method(part),
        "",
        "![members found by false alarms](membership.png)",
        "",
        "## Attacks",
        "",
        "Calibrated: loss under the public base minus loss under the tuned model. Loss: the tuned model's alone (the "
        "lower, the rather a member). A user's score is the mean over the user's sequences. In brackets: 95 %, "
        "bootstrap over users. Shown: the epsilon that a Gaussian mechanism with such guesses has at least (95 %).",
        "",
        *table(
            [
                "coins by", "arm", "attack on", "attack", "AUC", "members found at 1 % false alarms", "at 0.1 %",
                "ε shown",
            ],
            [cells for name, row in rows.items() for cells in _attack_cells(name, row)],
        ),
        "",
        "## What the arms learnt",
        "",
        "Accuracy of the next word and perplexity of a token are on posts of other users, who are no candidates; "
        "losses are nats a token.",
        "",
        *table(
            [
                "coins by", "arm", "learning rate", "accuracy (untuned)", "perplexity (untuned)",
                "loss of members (untuned)", "loss of non-members (untuned)",
            ],
            [_learnt_cells(name, row) for name, row in rows.items()],
        ),
        "",
        "## What is claimed, and what it allows",
        "",
        "Best guess: accuracy of the best threshold when half of the candidates are members. Allowed by the claim: by "
        "that epsilon at that delta. Allowed by the ledger: the least of the bounds at every delta that the run's "
        "ledger gives, which is tighter.",
        "",
        *table(
            [
                "coins by", "arm", "ε claimed", "ε in the ledger", "δ", "noise multiplier", "best guess, calibrated",
                "allowed by the ledger", "allowed by the claim", "checks", "exceeded",
            ],
            [_claim_cells(name, row) for name, row in rows.items() if row["epsilon"] is not None],
        ),
        "",
        "## Where there is nothing to find",
        "",
        *table(
            ["coins by", "attack", "AUC", "95 %", "99.9 % (0.5 must be inside)"],
            [
                [
                    _UNITS[null["unit"]], attack, f"{found['auc']:.3f}", _interval(found["auc_ci"]),
                    _interval(found["null_ci"]),
                ]
                for null in part["nulls"].values()
                for attack, found in null["attacks"].items()
            ],
        ),
        "",
        "## Where noise is missing",
        "",
        "What the same checks say if a model that was trained without noise made the claim of an arm with it, ledger "
        "included: whether they could find it out.",
        "",
        *table(
            ["coins by", "trained", "claims", "caught", "by"],
            [
                [
                    _UNITS[control["unit"]],
                    label(control["models"], control),
                    label(control["claims"], control),
                    "yes" if control["caught"] else "no",
                    (control["says"] or [""])[-1],
                ]
                for control in part["controls"].values()
            ],
        ),
        "",
        "## Limits",
        "",
        *_limits(part),
        "",
    ]  # fmt: skip
    broken = [f"* {name}: {what}" for name, row in (rows | part["nulls"]).items() for what in row["violations"]]
    if broken:
        lines += ["## What did not hold", "", *broken, ""]
    return "\n".join(lines)


def _method(part: Part) -> list[str]:
    design = part["design"]
    first = next(iter(part["rows"].values()))
    return [
        f"Each repetition, of {len(first['seeds'])}, draws {design['users']} users of {design['data']} at random, and "
        f"{design['sequences']} sequences of each ({design['shortest']} to {design['length']} tokens, none twice in "
        "the data). A fair coin for each sequence, or in the arms by user for each user, says whether it takes part; "
        "the others are the non-members, so that both are of one distribution and one time. Who is out is zeroed out, "
        "the ledger's own adjacency: it is in no batch, and the denominator counts it. Then the product trains as "
        f"`sotto run` does: the base that ships, LoRA of {first['parameters']:,} parameters on all blocks, "
        f"{first['rounds']} rounds, in each of them every sequence or user with probability {first['sample_rate']:g}, "
        "Adam, clip norm 1; with privacy, distributed discrete Gaussian noise. The attacker has the released adapter, "
        "the public base and the candidates, and no more. Repetitions are pooled.",
        "",
        'An arm "until it memorises" learns fast and is overfitted on purpose, else there is nothing to attack. The '
        'arms with privacy learn more slowly, because noise at the fast rate destroys the model; "gentle" is the slow '
        "rate without noise, which tells the effect of noise from that of the rate. Data, rounds and the odds of the "
        "coins are the same in all arms.",
    ]


def _attack_cells(name: str, row: Row) -> list[list[str]]:
    cells = []
    for attack, found in row["attacks"].items():
        on = "user" if attack.startswith("user") else "sequence"
        shown = found["epsilon_shown"]
        cells.append(
            [
                _UNITS[row["unit"]],
                label(name, row),
                f"{on} ({found['members']:,} in, {found['others']:,} out)",
                attack.removeprefix("user "),
                f"{found['auc']:.3f} {_interval(found['auc_ci'])}",
                *(_rate(found, at) for at in ("0.01", "0.001")),
                "" if shown is None else f"{shown:.2f}",
            ]
        )
    return cells


def _learnt_cells(name: str, row: Row) -> list[str]:
    deviation, loss = row["accuracy_deviation"], row["loss"]
    accuracy = f"{row['accuracy']:.2%}" + (f" ± {deviation:.2%}" if deviation is not None else "")
    return [
        _UNITS[row["unit"]],
        label(name, row),
        f"{row['learning_rate']:g}",
        f"{accuracy} ({row['accuracy_base']:.2%})",
        f"{row['perplexity']:.0f} ({row['perplexity_base']:.0f})",
        f"{loss['members']:.2f} ({loss['members before']:.2f})",
        f"{loss['others']:.2f} ({loss['others before']:.2f})",
    ]


def _claim_cells(name: str, row: Row) -> list[str]:
    attack = row["attacks"]["calibrated" if row["unit"] == "example" else "user calibrated"]
    return [
        _UNITS[row["unit"]],
        label(name, row),
        f"{row['epsilon']:g}",
        f"{row['spent']:.3f}",
        f"{row['delta']:g}",
        f"{row['noise_multiplier']:.3f}",
        f"{attack['balanced']:.1%}",
        f"{row['balanced_allowed_by_ledger']:.1%}",
        f"{row['balanced_allowed']:.2%}",
        str(row["tried"]),
        str(len(row["violations"])),
    ]


def _limits(part: Part) -> list[str]:
    warnings = list(dict.fromkeys(text for row in part["rows"].values() for text in row["warnings"]))
    return [
        "* An attack only shows that at least so much leaks. One that fails proves nothing: an attacker who trains "
        "shadow models, sees every round's sum or chooses the records does better, and epsilon is about that attacker.",
        "* A bound is checked where one coin decided what one score is about: sequences in the arms by sequence, users "
        "in those by user; always for the k highest and the k lowest scores, for numbers k fixed before. A claim is "
        "exceeded if more guesses are right than epsilon and delta allow with probability 1 % over all k (Steinke, "
        "Nasr, Jagielski 2023), which cannot be seen at epsilon 8 with so few candidates; or if the rate of right "
        "guesses at its lower limit is above what the ledger allows at the upper limit of the rate of wrong ones "
        "(Clopper and Pearson, 1 % over all k, as if the candidates of a run were independent); or if a Gaussian "
        "mechanism with such guesses has a larger epsilon (Mahloujifar, Melis, Chaudhuri 2024, 99.9 %).",
        "* At 0.1 % false alarms a rate rests on one non-member or two, and at 1 % of users likewise; the intervals "
        "say so. It is left out where one non-member alone is more than that.",
        "* A small model, short sequences and few users, chosen so that memorising is possible within minutes. The "
        "same epsilon costs less accuracy with more users.",
        "* Learning rates were chosen by runs on other candidates (seed 0), which are not accounted.",
        *(f"* Said by the runs: {text.rstrip('.')}." for text in warnings),
    ]


def _rate(found: Row, at: str) -> str:
    if found["tpr"][at] is None:
        return "too few"
    return f"{found['tpr'][at]:.1%} {_interval(found['tpr_ci'][at], percent=True)}"


def _interval(pair: Sequence[float], percent: bool = False) -> str:
    low, high = pair
    return f"({low:.1%} to {high:.1%})" if percent else f"({low:.3f} to {high:.3f})"
