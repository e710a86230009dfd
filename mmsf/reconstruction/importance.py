"""Weights of a unit's outputs: squared gradients of the detector's own loss (BRECQ), or of the lanes it decodes to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.reconstruction.activations import Kept


def squared_gradients(loss: Tensor, outputs: Sequence[Tensor], frames: int, keep_graph: bool = False) -> list[Tensor]:
    """The diagonal of the Fisher matrix of a unit's outputs, frame by frame.

    Args:
        loss: Scalar, a mean over the frames of the batch.
        outputs: What it depends on; zeros for what it does not depend on.
        frames: B.
        keep_graph: Another gradient of the same run is asked for afterwards.

    Returns:
        Shapes of ``outputs``: the square of the gradient of each frame's own loss.

    Source:
        Li et al., "BRECQ", 2021, Eq. 10.
    """
    gradients = torch.autograd.grad(loss * frames, outputs, allow_unused=True, retain_graph=keep_graph)
    return [torch.zeros_like(o) if g is None else g.square() for g, o in zip(gradients, outputs)]


def lane_gradients(
    adapter: Adapter,
    target: HeadOutputs,
    output: HeadOutputs,
    outputs: Sequence[Tensor],
    match_distance: float,
    draws: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """How much each number of a unit's outputs moves the decoded lanes, in squares, frame by frame.

    To second order, a change d of the outputs costs d' J' J d, J being the slopes of everything the lanes are made of: the
    positions of their points, each times its weight, and the confidences. A candidate's lane that moves by the match
    distance counts as much as a confidence that changes by its weight. The diagonal of J' J is the mean square of the
    gradient of r' J over random signs r: one backward pass a draw. A squared gradient of the lanes' distance itself
    would say nothing, as it vanishes where the lanes agree.

    Args:
        adapter: The family's adapter.
        target: Heads of the float model; they say which points, and their weights.
        output: Heads that depend on ``outputs``.
        outputs: Of the unit; frames do not mix.
        match_distance: Pixels of a 1640 x 590 frame, as in `DistortionRule`.
        draws: Random signs to take the mean over; without bias for any number.
        generator: Of the signs, on the processor.

    Returns:
        Shapes of ``outputs``: estimates of the diagonal, which the weights of squared errors shall be.

    Source:
        Martens et al., "Estimating the Hessian by Back-propagating Curvature", 2012, for the random signs.
    """
    points = adapter.points(output, target)
    weights = adapter.point_weights(target).detach() / (match_distance * points.shape[-1] ** 0.5)
    made = [weights * points, *output.confidences.values()]
    total = [torch.zeros_like(tensor) for tensor in outputs]
    for draw in range(draws):
        projected = sum((random_signs(part, generator) * part).sum() for part in made)
        # The sum over the frames has each frame's own gradient.
        squares = squared_gradients(projected, outputs, frames=1, keep_graph=draw < draws - 1)
        total = [t + s / draws for t, s in zip(total, squares)]
    return total


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """-1 and 1 at random, in the shape of ``like``; drawn on the processor."""
    return (torch.randint(2, like.shape, generator=generator) * 2 - 1).to(like)


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
