"""BRECQ's weights of a unit's outputs: squared gradients of the detector's own loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmsf.reconstruction.activations import Kept


def squared_gradients(loss: Tensor, outputs: Sequence[Tensor], frames: int) -> list[Tensor]:
    """The diagonal of the Fisher matrix of a unit's outputs, frame by frame.

    Args:
        loss: Scalar, a mean over the frames of the batch.
        outputs: What it depends on; zeros for what it does not depend on.
        frames: B.

    Returns:
        Shapes of ``outputs``: the square of the gradient of each frame's own loss.

    Source:
        Li et al., "BRECQ", 2021, Eq. 10.
    """
    gradients = torch.autograd.grad(loss * frames, outputs, allow_unused=True)
    return [torch.zeros_like(o) if g is None else g.square() for g, o in zip(gradients, outputs)]


def normalise(importance: Kept) -> None:
    """Scale weights to a mean of 1 over all outputs of the unit, in place; to 1 where all are 0.

    A detector's loss has no unit of its own. The authors' classifiers add 1 to the gradients' magnitudes instead.
    """
    kept = [rows.rows for call in importance.calls for rows in call if rows is not None]
    # In double: half a billion small squares.
    mean = sum(rows.sum(dtype=torch.float64) for rows in kept) / max(1, sum(rows.numel() for rows in kept))
    for rows in kept:
        if mean > 0:
            rows /= mean.to(rows)
        else:
            rows.fill_(1)
