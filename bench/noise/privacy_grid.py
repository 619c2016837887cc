"""All combinations of what decides the noise in a sum, possible and impossible, each judged by the product itself.

Takes lists of values; gives what `fl_core.config_check` says of each combination. Nothing here knows what is possible.
"""

from __future__ import annotations

from fl_core.config import ConfigError, RunConfig
from fl_core.config_check import check

__all__ = ["BACKENDS", "BY", "MECHANISMS", "SCHEMES", "TRUSTS", "UNITS", "refusal"]

MECHANISMS = ("gaussian", "discrete_gaussian", "skellam")
TRUSTS = ("central", "local", "distributed")  # with trust none there is no noise
UNITS = ("example", "client")
BACKENDS = ("plaintext", "smpc")
BY = ("clients", "aggregators", "both")
SCHEMES = ("oversize", "xnoise")


def refusal(config: RunConfig) -> str | None:
    """The sentence with which a configuration is refused; None if it is possible."""
    try:
        check(config, "the grid")
    except ConfigError as refused:
        return str(refused)
    return None
