"""The federated algorithm: config, adapters, private gradients, rounds, accounting, engines.

Importing the package stays light; names load their modules on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_core.environment import check_environment

if TYPE_CHECKING:
    from fl_core.private_gradient import ClippedSum, PrivateGradient

__all__ = ["ClippedSum", "PrivateGradient"]

check_environment()


def __getattr__(name: str) -> Any:
    if name in __all__:
        from fl_core import private_gradient

        return getattr(private_gradient, name)
    raise AttributeError(f"module 'fl_core' has no attribute {name!r}")
