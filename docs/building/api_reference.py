"""The reference of what Python programs import: the public names of the packages, from their docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module

__all__ = ["PUBLIC", "api_reference"]

# Module, and what it is for; its names are those of its `__all__`.
PUBLIC = (
    ("fl_core", "Private gradients and training"),
    ("fl_core.adapters", "Adapters as flat vectors"),
    ("fl_core.causal_lm", "Loss of a language model"),
    ("fl_core.task", "What a federated experiment consists of"),
    ("fl_core.privacy", "Accounting, calibration and ledger"),
    ("kernels", "Tensors in, tensors out"),
    ("secagg", "Secure aggregation"),
    ("secagg.errors", "Errors"),
)


def api_reference() -> str:
    """Every public name with its docstring, as Markdown with autodoc's directives."""
    lines: list[str] = []
    for name, title in PUBLIC:
        module = import_module(name)
        lines += [f"## {title}: `{name}`\n", "```{eval-rst}"]
        for public in sorted(module.__all__, key=str.lower):
            found = getattr(module, public)
            if inspect.isclass(found):
                lines += [f".. autoclass:: {name}.{public}", "   :members:", ""]
            elif callable(found):
                lines += [f".. autofunction:: {name}.{public}", ""]
            else:
                lines += [f".. py:data:: {name}.{public}", ""]
        lines.append("```\n")
    return "\n".join(lines)
