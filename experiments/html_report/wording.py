"""What a run did, who added the noise and what the privacy terms mean, in sentences that need no glossary."""

from __future__ import annotations

from typing import Any

from experiments.figures import adapted_targets
from experiments.summary import in_words
from fl_core.privacy_plan import bounded_view

__all__ = ["ADVERSARIES", "UNITS", "about_the_task", "adjacency", "bounded", "proven", "sentence", "what_was_done"]

UNITS = {"example": "each record", "client": "each client’s whole data"}

# A name for each view's adversary; the ledger has the exact words.
ADVERSARIES = {
    "release": "Who sees the published models",
    "aggregators": "Who sees every opened sum",
    "local": "Who reads one client’s own message",
}


def what_was_done(summary: dict[str, Any], borne_out: bool = True) -> str:
    """The run in one sentence; what its ledger does not bear out (`borne_out` false) is not called protected."""
    config = summary["config"]
    layers = ", ".join(adapted_targets(summary))
    rank = config["lora"].get("rank")
    return (
        f"In {_count(summary['rounds_done'], 'round')}, {_count(config['federation']['clients'], 'client')} with "
        f"{_count(summary['records'], 'record')} of {summary['source']} trained a LoRA adapter of "
        f"{_count(summary['parameters'], 'parameter')} (layers {layers}; rank {rank}) on a frozen model, "
        f"{_protection(summary['privacy'], borne_out)}: {_noise(config)}, and {_sum(config)}."
    )


def _protection(privacy: dict[str, Any], borne_out: bool) -> str:
    if not borne_out:
        return "with no guarantee that its ledger bears out"
    return f"with {UNITS[privacy['unit']]} protected" if privacy["private"] else "without privacy"


def _noise(config: dict[str, Any]) -> str:
    trust = config["privacy"]["trust"]
    if trust == "none":
        return "no noise was added"
    if trust == "central":
        return "the server added the noise"
    if trust == "local":
        return "each client added all of the noise by itself"
    by = config.get("noise", {}).get("by", "clients")
    parties = config["aggregation"].get("parties")
    if by == "aggregators":
        return f"each of {parties} parties added all of the noise"
    shares = "each client added a share of the noise"
    return shares if by == "clients" else f"{shares} and each of {parties} parties all of it again"


def _sum(config: dict[str, Any]) -> str:
    if config["aggregation"]["backend"] == "plaintext":
        return "one server summed what clients sent, and read it"
    return f"{config['aggregation'].get('parties')} parties opened nothing but the sum, by secure computation"


def about_the_task(summary: dict[str, Any]) -> list[str]:
    """What the adapter learns, what the data and a record are, as far as the summary says."""
    learns, about, record = (in_words(summary, what) for what in ("learns", "about", "record"))
    return [
        *([f"the adapter learns {learns}"] if learns else []),
        *([f"the data: {about}"] if about else []),
        *([f"one record is {record}"] if record else []),
    ]


def proven(summary: dict[str, Any]) -> tuple[bool, str]:
    """Whether the epsilons are a guarantee for what ran, and why or why not."""
    privacy = summary["privacy"]
    if not privacy["private"]:
        return False, "this run is not private"
    if not privacy["proven"]:
        return False, "the mechanism is an idealisation of what ran"
    return True, "for the integers that were drawn"


def bounded(summary: dict[str, Any]) -> str:
    """The view whose epsilon was asked for."""
    config = summary["config"]
    return bounded_view(config["privacy"]["trust"], config["aggregation"]["backend"])


def adjacency(neighbouring: str, unit: str) -> str:
    """The two worlds that are compared."""
    what = {"example": "one record", "client": "everything of one client"}[unit]
    if neighbouring == "zero_out":
        return (
            f"Two worlds are compared: in the first, {what} takes part; in the second, zero stands in its place "
            "(zero-out)."
        )
    return f"Two worlds are compared that differ in {what}, which is another in each (replace-one)."


def sentence(note: str) -> str:
    """A note as it stands between other sentences."""
    return f"{note[:1].upper()}{note[1:]}{'' if note.endswith('.') else '.'}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
