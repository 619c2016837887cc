"""What a run's circumstances take from its epsilons: where its clients were, and a delta that promises nothing.

Takes a configuration and public counts; gives sentences for the ledger's header, from where every output has them. One
sentence a fact; what the mechanism itself lacks is said by `privacy_plan` and by the ledger.
"""

from __future__ import annotations

from fl_core.config import RunConfig

__all__ = ["caution_of_delta", "caution_of_place", "is_of_place"]

_PLACE = "one machine held all clients"


def caution_of_place(config: RunConfig, nodes: bool) -> str | None:
    """Against whom nothing protects the records of a simulation; None for clients that are elsewhere.

    Args:
        config: the resolved configuration.
        nodes: whether clients compute on nodes of their own.
    """
    if nodes:
        return None
    if config.aggregation.deployment is not None:
        where = f"{_PLACE}, and only the parties were a deployment's"
    elif config.aggregation.backend == "smpc":
        where = f"{_PLACE}, their keys and all parties"
    else:
        where = f"{_PLACE} and the server"
    whose = "; every epsilon is the protocol's, against others" if _private(config) else ""
    return f"{where}: nothing protects the records from whoever runs it{whose}"


def is_of_place(text: str) -> bool:
    """Whether a sentence is `caution_of_place`'s, which is no fault of a run and true of every simulation."""
    return text.startswith(_PLACE)


def caution_of_delta(config: RunConfig, records: int) -> str | None:
    """That the delta allows to give a whole record (or client) away; None where it is small enough.

    Dwork and Roth 2014, section 2.3: publishing one of n records at random has epsilon 0 and delta 1/n.

    Args:
        config: the resolved configuration.
        records: of all clients, a public number.
    """
    p = config.privacy
    units, what = (records, "records") if p.unit == "example" else (config.federation.clients, "clients")
    if not _private(config) or p.delta * units < 1:
        return None
    return (
        f"delta {p.delta:g} is not below one in the {units:,} {what} that are to be protected: whoever published one "
        "of them, picked at random, would have epsilon 0 at this delta; choose a much smaller privacy.delta"
    )


def _private(config: RunConfig) -> bool:
    """Whether there is noise that nobody knows; a run without says so itself, and no epsilon of it is a guarantee."""
    return config.privacy.trust != "none" and config.privacy.insecure_seed is None
