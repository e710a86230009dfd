"""Heat maps with a bump around every labelled cell, and the focal loss on them."""

import numpy as np
import torch
from torch import Tensor

from mmsf.models.layers.seeds import heat_of


def gaussian_heat_map(image: np.ndarray, cells: np.ndarray, radius: int, shape: tuple[int, int, int]) -> np.ndarray:
    """One at every cell and a Gaussian around it, its standard deviation a sixth of its width; bumps never add up.

    Args:
        image: (N,) which image each cell is in.
        cells: (N, 2) column and row.
        radius: Cells around it that the bump covers.
        shape: Images, rows and columns.

    Returns:
        (images, 1, rows, columns) float32.

    Source:
        Law and Deng, "CornerNet: Detecting Objects as Paired Keypoints", 2018, section 3.2.
    """
    images, rows, columns = shape
    steps = np.arange(-radius, radius + 1)
    sigma = (2 * radius + 1) / 6
    bump = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2)).astype(np.float32)
    heat = np.zeros((images, rows + 2 * radius, columns + 2 * radius), np.float32)
    x, y = cells.T[..., None, None] + radius
    np.maximum.at(heat, (image[:, None, None], y + steps[:, None], x + steps), bump)
    return heat[:, None, radius : radius + rows, radius : radius + columns].copy()


def heat_map_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heat map, less severe near to labelled cells, per labelled cell of the batch.

    Up to two labelled cells in the whole batch count as none, and the loss is zero, as in the code of the lane detectors
    that use it.

    Args:
        logits: (B, C, H, W), before the sigmoid.
        heat: Targets of the same shape, 1 at labelled cells, below 1 elsewhere.

    Returns:
        The loss, a scalar.

    Source:
        Law and Deng, "CornerNet: Detecting Objects as Paired Keypoints", 2018, Eq. 1, with alpha 2 and beta 4.
    """
    probability = heat_of(logits)
    labelled = heat == 1
    hit = (1 - probability).square() * probability.log()
    miss = (1 - heat).pow(4) * probability.square() * (1 - probability).log()
    count = labelled.sum()
    return -torch.where(labelled, hit, miss).sum() * (count > 2) / count.clamp(min=1)
