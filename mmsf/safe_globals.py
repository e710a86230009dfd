"""Files that torch wrote: read without running what is in them, and with what MMEngine writes beside the weights."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmsf.errors import UserError
from mmsf.files import whole_or_absent

# Makes torch read weights only, whoever asks: MMEngine runs what is in a file where reading the weights alone fails.
ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_REFUSED = re.compile(r"GLOBAL (\S+)")

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


def load(path: str | Path, trusted: bool = False) -> Any:
    """Read a file that torch wrote, onto the CPU.

    Args:
        path: The file.
        trusted: Read it whatever it holds. Whoever made the file then decides which code runs. False reads tensors and
            plain values only, and runs nothing.

    Raises:
        UserError: It is missing, damaged, or holds more than may be read.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} is not there; give the path of a checkpoint file")
    allow()
    forced = os.environ.pop(ONLY_WEIGHTS, None) if trusted else None
    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted)
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        refused = _REFUSED.search(str(error))
        if refused and not trusted:
            raise UserError(
                f"{path} cannot be read as weights alone: it holds {refused[1]}, which only its maker's code can load; "
                "if you trust its maker, --trust-checkpoint runs that code"
            ) from error
        raise UserError(f"{path} cannot be read as a checkpoint; it is damaged or no file of weights") from error
    finally:
        if forced is not None:
            os.environ[ONLY_WEIGHTS] = forced


def save(content: Any, path: str | Path) -> None:
    """Write a file of torch, whole or not at all."""
    # Through memory: torch reports a full disk in words of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
