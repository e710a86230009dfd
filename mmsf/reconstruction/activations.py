"""A unit's inputs and outputs for every calibration frame."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from mmsf.reconstruction.layout import Layout
from mmsf.reconstruction.memory import TensorMemory
from mmsf.reconstruction.units import Unit, output_tensors


class FrameRows:
    """A tensor for all frames, of which mini-batches are taken.

    Args:
        layout: How a batch of it is laid out.
        frames: N.
        memory: Where it is kept.
    """

    def __init__(self, layout: Layout, frames: int, memory: TensorMemory) -> None:
        self.layout, self.device = layout, memory.device
        self._frames, self._memory = frames, memory
        self._filled = 0
        self.rows: Tensor | None = None

    def append(self, rows: Tensor) -> None:
        """Take up the rows (B, K, ...) of the next frames."""
        if self.rows is None:
            self.rows = self._memory.empty((self._frames, *rows.shape[1:]), rows.dtype)
        self.rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def batch(self, index: Tensor) -> Tensor:
        """The tensor for the frames at ``index``, on the device of the memory."""
        rows = self.rows.index_select(0, index.to(self.rows.device))
        return self.layout.joined(rows.to(self.device, non_blocking=True))


class _UnitDone(Exception):
    """Ends a run of the network once the unit has run."""


# Inputs and output tensors of one run of a unit.
Run = tuple[list, list[Tensor]]


def record(unit: Unit, run: Callable[[], object], to_the_end: bool = False) -> tuple[list[Run], object]:
    """Inputs and outputs of every run of a unit within one run of its network.

    Args:
        unit: The unit.
        run: Runs the network.
        to_the_end: Let the network run to its end; the outputs then require a gradient. Else it is stopped when the unit is
            done.

    Returns:
        The runs of the unit, and what ``run`` returned (None if it was stopped).
    """
    runs: list[Run] = []

    def after(module, args: tuple, kwargs: dict, output: object) -> None:
        tensors = output_tensors(output)
        for tensor in tensors:
            if to_the_end and not tensor.requires_grad:
                tensor.requires_grad_(True)
        runs.append((tree_flatten((args, kwargs))[0], tensors))
        if len(runs) == unit.recorded_calls and not to_the_end:
            raise _UnitDone

    handle = unit.module.register_forward_hook(after, with_kwargs=True)
    try:
        return runs, run()
    except _UnitDone:
        return runs, None
    finally:
        handle.remove()


class Kept:
    """The same side (inputs or outputs) of all runs of a unit, for all frames.

    Args:
        sides: Of each call, the layouts of its values.
        joined: Several runs are kept as one.
        frames: N.
        memory: Where it is kept.
    """

    def __init__(self, sides: list[tuple[Layout | None, ...]], joined: bool, frames: int, memory: TensorMemory) -> None:
        self.joined = joined
        self.calls = [[layout and FrameRows(layout, frames, memory) for layout in layouts] for layouts in sides]
        # What does not depend on the frames.
        self.constants: list[list] = []

    def append(self, runs: Iterable[list]) -> None:
        """Take up the values of the next frames, a list for each run of the unit."""
        runs = list(runs)
        if self.joined:
            self.calls[0][0].append(torch.cat([Layout(0, 1).rows(values[0]) for values in runs], 1))
            self.constants = [[None]]
            return
        for values, rows in zip(runs, self.calls, strict=True):
            for value, row in zip(values, rows, strict=True):
                if row is not None:
                    row.append(row.layout.rows(value))
        if not self.constants:
            self.constants = [[v.clone() if isinstance(v, Tensor) else v for v in values] for values in runs]

    def batch(self, call: int, index: Tensor) -> list:
        """The values of a call for the frames at ``index``."""
        pairs = zip(self.calls[call], self.constants[call])
        return [constant if rows is None else rows.batch(index) for rows, constant in pairs]
