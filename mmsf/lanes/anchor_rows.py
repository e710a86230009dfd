"""Which rows of an anchor's line belong to its lane (LaneATT, CLRNet)."""

import numpy as np


def rows_of_lanes(xs: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Flags (K, R) of the rows from ``first`` to ``last``, and of those below down to where the lane leaves the image.

    Args:
        xs: (K, R) x-position on each row from the bottom up, as a share of the image's width.
        first: (K,) lowest row of each lane.
        last: (K,) its highest row.
    """
    row = np.arange(xs.shape[1])
    inside = (xs >= 0) & (xs <= 1)
    # From the first row down, one row outside hides all below it.
    unbroken = np.logical_and.accumulate((inside | (row >= first[:, None]))[:, ::-1], 1)[:, ::-1]
    return (row <= last[:, None]) & ((row >= first[:, None]) | unbroken)
