"""Where the frames of a batch stand in a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A tensor whose ``axis`` holds the frames, ``per_frame`` entries for each, frame after frame."""

    axis: int
    per_frame: int

    def rows(self, tensor: Tensor) -> Tensor:
        """The tensor of B frames as (B, per_frame, ...)."""
        return tensor.movedim(self.axis, 0).unflatten(0, (-1, self.per_frame))

    def joined(self, rows: Tensor) -> Tensor:
        """(B, per_frame, ...) back to the tensor."""
        return rows.flatten(0, 1).movedim(0, self.axis)


def layouts(one: Sequence, two: Sequence) -> tuple[Layout | None, ...]:
    """Layout of each of some values, from those of one frame and those of two; None where nothing depends on the frames.

    Args:
        one: Tensors and other values of a run with one frame.
        two: The same of a run with two.

    Raises:
        ValueError: A size follows the frames in several axes, or otherwise than in proportion.
    """
    return tuple(_layout(a, b) if isinstance(a, Tensor) else None for a, b in zip(one, two, strict=True))


def _layout(one: Tensor, two: Tensor) -> Layout | None:
    axes = [axis for axis, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
    if not axes:
        return None
    if len(axes) > 1 or two.shape[axes[0]] != 2 * one.shape[axes[0]]:
        raise ValueError(
            f"the frames of a batch cannot be told apart: {tuple(one.shape)} for one, {tuple(two.shape)} for two"
        )
    return Layout(axes[0], one.shape[axes[0]])
