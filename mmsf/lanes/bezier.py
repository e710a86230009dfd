"""Cubic Bezier curves."""

import math

import numpy as np

DEGREE = 3


def bernstein(t: np.ndarray) -> np.ndarray:
    """Cubic Bernstein polynomials.

    Args:
        t: Curve parameters in 0..1, any shape.

    Returns:
        (*t.shape, 4), the shares of the four control points at each parameter.
    """
    k = np.arange(DEGREE + 1)
    t = t[..., None]
    return np.array([math.comb(DEGREE, i) for i in k]) * t**k * (1 - t) ** (DEGREE - k)
