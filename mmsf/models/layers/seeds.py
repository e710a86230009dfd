"""Peaks of a heat map, in a number that does not depend on the picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Probabilities are cut to this and to one minus this, as in CornerNet; saturated neighbours tie.
LOWEST = 1e-4


def heat_of(logits: Tensor) -> Tensor:
    """Logits to probabilities in [LOWEST, 1 - LOWEST], any shape."""
    return logits.sigmoid().clamp(LOWEST, 1 - LOWEST)


def find_seeds(heat: Tensor, threshold: float, count: int) -> Tensor:
    """Cells that are above a threshold and not below any of their eight neighbours; all cells of a plateau count.

    Args:
        heat: (B, 1, h, w) probabilities.
        threshold: A seed's probability is larger.
        count: At most so many an image, the largest ones.

    Returns:
        (B, K) int64, numbers of the seeds' cells (row * w + column), ascending, and then -1 for places that no seed takes.
        K is the smaller of ``count`` and h * w.
    """
    peak = (F.max_pool2d(heat, 3, 1, 1) == heat) & (heat > threshold)
    candidates = torch.where(peak, heat, 0.0).flatten(1)
    cells = candidates.shape[1]
    values, places = candidates.topk(min(count, cells), 1)
    ordered = torch.where(values > 0, places, cells).sort(1).values
    return torch.where(ordered < cells, ordered, -1)


def at_seeds(values: Tensor, seeds: Tensor) -> Tensor:
    """A map's numbers (B, C, h, w) at seeds (B, K), as (B, K, C); zeros where there is no seed."""
    channels = values.shape[1]
    picked = values.flatten(2).gather(2, seeds.clamp(min=0)[:, None].expand(-1, channels, -1)).transpose(1, 2)
    # Chosen and not multiplied, so that a number that is not finite at cell 0 stays there.
    return torch.where(seeds[..., None] >= 0, picked, 0.0)
