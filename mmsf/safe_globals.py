"""What MMEngine writes beside the weights, allowed to torch's loader, which takes nothing but weights by default."""

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

multiarray = getattr(np, "_core", getattr(np, "core", None)).multiarray


def _history_method(owner: type, name: str):
    """``getattr`` for the one thing that needs it: the statistics that a `HistoryBuffer` keeps as methods."""
    if owner is not HistoryBuffer or name.startswith("_"):
        raise ValueError(f"a checkpoint may not refer to {name} of {owner}")
    return getattr(owner, name)


SAFE_GLOBALS = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    *(
        (function, f"{module}.multiarray.{function.__name__}")
        for function in (multiarray.scalar, multiarray._reconstruct)
        for module in ("numpy.core", "numpy._core")
    ),
    (_history_method, "builtins.getattr"),
    *(type(np.dtype(name)) for name in ("bool", "uint8", "uint32", "int32", "int64", "float32", "float64")),
]


def allow() -> None:
    """Let ``torch.load(weights_only=True)`` read MMEngine's checkpoints, of either NumPy generation."""
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
