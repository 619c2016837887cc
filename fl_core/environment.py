"""Refuse an environment in which another package takes our names.

Hugging Face publishes an optional package that is also called `kernels`, and transformers uses it when it is
installed. Installed next to Sotto, one of the two would silently import the other's code.
"""

from __future__ import annotations

from importlib import metadata

from secagg.errors import SottoError

__all__ = ["EnvironmentProblem", "check_environment"]


class EnvironmentProblem(SottoError):
    """The Python environment cannot run Sotto as it is."""


def check_environment() -> None:
    """Raise EnvironmentProblem if a distribution named `kernels` is installed."""
    try:
        version = metadata.version("kernels")
    except metadata.PackageNotFoundError:
        return
    raise EnvironmentProblem(
        f"the package 'kernels' {version} (Hugging Face's kernel hub) is installed and has the name of one of "
        "Sotto's own packages: run 'pip uninstall kernels', or install Sotto in an environment of its own"
    )
