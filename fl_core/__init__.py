"""The federated algorithm: configuration, adapters, gradients, rounds, accounting, engines.

A round by its modules: `engines.round_loop` asks for it; `cohort` computes what clients contribute, with `gradients`
and `local_training`; `rounds` adds each client's noise, splits, and has one sum opened, after `budget` and
`privacy.ledger` have counted it; `optimizers` makes the step. Nothing here knows a data set, a figure or a command.

Importing the package stays light; names load their modules on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fl_core.environment import check_environment

if TYPE_CHECKING:
    from fl_core.gradients.private_gradient import ClippedSum, PrivateGradient
    from fl_core.trainer.privacy_arguments import PrivacyArguments
    from fl_core.trainer.private_trainer import PrivateTrainer

__all__ = ["ClippedSum", "PrivacyArguments", "PrivateGradient", "PrivateTrainer"]

_MODULES = {
    "ClippedSum": "gradients.private_gradient",
    "PrivateGradient": "gradients.private_gradient",
    "PrivacyArguments": "trainer.privacy_arguments",
    "PrivateTrainer": "trainer.private_trainer",
}

check_environment()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"fl_core.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'fl_core' has no attribute {name!r}")
