"""Heat maps with a bump around every labelled cell, and the focal loss on them."""

import numpy as np
import torch
from torch import Tensor


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


def focal_loss(heat: Tensor, target: Tensor) -> Tensor:
    """Focal loss of a heat map, less severe near to labelled cells, per labelled cell.

    The lane detectors' own code has none where a batch holds two labelled cells or less; here it always counts, so that
    empty frames teach.

    Args:
        heat: Probabilities inside (0, 1), any shape.
        target: In [0, 1], the same shape; 1 is a positive, and cells near to 1 weigh little.

    Returns:
        The sum over all cells divided by the number of positives.

    Source:
        Law and Deng, "CornerNet: Detecting Objects as Paired Keypoints", 2018, Eq. 1.
    """
    positive = target == 1
    of_positives = heat.log() * (1 - heat) ** 2
    of_others = (1 - heat).log() * heat**2 * (1 - target) ** 4
    return -torch.where(positive, of_positives, of_others).sum() / positive.sum().clamp(min=1)
