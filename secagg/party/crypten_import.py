"""The one place where CrypTen is imported, with the one shim that today's torch needs.

CrypTen 0.4.1 imports `torch.onnx._internal.registration`, which torch 2.13 moved below `torchscript_exporter`. The
shim makes the old name resolve to the moved module; nothing of CrypTen itself is patched.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from secagg.errors import AggregationError

__all__ = ["import_crypten", "refuse_missing_crypten"]

_OLD = "torch.onnx._internal.registration"
_HOW = "install it with 'pip install --no-deps crypten==0.4.1'"
_MOVED = "torch.onnx._internal.torchscript_exporter.registration"


def import_crypten() -> Any:
    """The `crypten` module.

    Raises:
        ImportError: if CrypTen is not installed, saying how to install it.
    """
    if _OLD not in sys.modules:
        try:
            importlib.import_module(_OLD)
        except ImportError:
            sys.modules[_OLD] = importlib.import_module(_MOVED)
    try:
        return importlib.import_module("crypten")
    except ModuleNotFoundError as error:
        raise ImportError(f"CrypTen cannot be imported (missing {error.name}); {_HOW}") from None


def refuse_missing_crypten() -> None:
    """Refuse to start parties where CrypTen is not installed, without the seconds that its import takes.

    Raises:
        AggregationError: saying how to install it.
    """
    if importlib.util.find_spec("crypten") is None:
        raise AggregationError(
            f"aggregation.backend is smpc, but CrypTen, with which parties open sums, is not installed; {_HOW}"
        )
