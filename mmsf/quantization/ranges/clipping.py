"""Where to clip values of a known distribution: ACIQ's optimal clipping values."""

import math
from collections.abc import Callable
from functools import cache


@cache
def gauss_clipping(bits: int, one_sided: bool = False) -> float:
    """Clipping value, in standard deviations, of least noise for a Gauss distribution.

    With a step of 2 a / 2^M, clipped values and rounding make the noise
    (a^2 + 1) erfc(a / sqrt 2) - sqrt(2 / pi) a exp(-a^2 / 2) + a^2 / (3 4^M); this is where its slope is zero.

    Args:
        bits: M.
        one_sided: All steps lie on one side of the centre (values after ReLU); the same as one bit more.

    Source:
        Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019, section 3.
    """
    rounding = 1 / (3 * 4 ** (bits + one_sided))
    return _root(
        lambda a: a * math.erfc(a / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-a * a / 2) + a * rounding,
    )


@cache
def laplace_clipping(bits: int, one_sided: bool = False) -> float:
    """The same for a Laplace distribution, in mean absolute deviations: 2 exp(-a) + a^2 / (3 4^M)."""
    rounding = 1 / (3 * 4 ** (bits + one_sided))
    return _root(lambda a: a * rounding - math.exp(-a))


def _root(slope: Callable[[float], float]) -> float:
    """Zero of a rising function between 0 and 32, by bisection to a float's precision."""
    low, high = 0.0, 32.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return (low + high) / 2
