"""What a tuning iteration costs, in plain float forward and backward passes of the same batch."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from mmsf.adapters.outputs import tensors_of


def float_step(detector: nn.Module, images: Tensor) -> None:
    """Forward and backward of the float network: the yardstick of an iteration's cost. No gradient is left.

    Args:
        detector: The float detector, whose parameters take no gradients otherwise.
        images: Preprocessed images (B, 3, H, W).
    """
    parameters = [parameter for parameter in detector.parameters() if parameter.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    raw = tensors_of(detector(images, mode="tensor"))
    sum(tensor.square().mean() for tensor in raw.values() if tensor.requires_grad).backward()
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None


class IterationCost:
    """Times some iterations, each next to the float network's forward and backward on the same mini-batch.

    Args:
        iterations: Iterations of the run.
        samples: How many of them are timed, evenly spread; the first iteration, which warms up, is not among them.
    """

    def __init__(self, iterations: int, samples: int) -> None:
        step = max(1, iterations // (samples + 1))
        self._sampled = set(range(step, iterations, step)[:samples]) if samples else set()
        self.pairs: list[tuple[float, float]] = []

    @contextmanager
    def sampling(self, iteration: int, float_step: Callable[[], None]) -> Iterator[None]:
        """Time the block, and ``float_step`` after it, if this iteration is one of those."""
        begun = time.perf_counter()
        yield
        if iteration in self._sampled:
            between = time.perf_counter()
            float_step()
            self.pairs.append((between - begun, time.perf_counter() - between))

    @property
    def ratio(self) -> float | None:
        """Median of iteration time / float forward and backward time; None if nothing was timed."""
        return statistics.median(a / b for a, b in self.pairs) if self.pairs else None
