"""Earlier formats of the ledger's header, and what each means today.

Takes and gives the plain body of a header line. It must never fill in what a run of that format could have done
otherwise: only what every one of them did, or that nothing is known.
"""

from typing import Any, Final

__all__ = ["FORMAT", "as_now"]

FORMAT: Final = 3

# What each later format added to the header, with what every run of the formats before it did or knew.
_ADDED: Final[dict[int, dict[str, Any]]] = {
    2: {
        "noise_by": "clients",
        "noise_dropout": "oversize",
        "aggregators": 0,
        "aggregator_sigma": 0.0,
        "components": (),
    },
    3: {"data": "", "contribution": ""},
}


def as_now(body: dict[str, Any]) -> dict[str, Any]:
    """A header of an earlier format as it would be written today; any other as it is."""
    before = body.get("version")
    later = [added for version, added in _ADDED.items() if before in (1, 2) and version > before]
    if not later or any(added.keys() & body for added in later):
        return body
    for added in later:
        body = {**body, **added}
    return {**body, "version": FORMAT}
