"""The quantized model with a runtime's choice wherever a value lies on the border between two integers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mmsf.quantization import QuantizedNetwork, Quantizer

# A value so near to the border, in steps of the grid, may be rounded to either side: float32's last bit of 255 is 1.5e-5,
# and a sum of hundreds of products has a few of them.
BORDER = 1e-3


@dataclass
class Followed:
    """Counts over all quantizers.

    Attributes:
        values: Values that were rounded.
        border: Of these, those that the runtime rounds to the other side, being on the border.
        apart: Those whose integer in the runtime no rounding explains; the model keeps its own there.
    """

    values: int = 0
    border: int = 0
    apart: int = 0


@contextmanager
def following(network: QuantizedNetwork, integers: Sequence[Tensor | None], counts: Followed) -> Iterator[None]:
    """While the block runs the network once, its activation quantizers take a runtime's side on borders.

    Without it two programs that sum in another order part: a value is rounded up by one and down by the other, and the
    next layers multiply the difference.

    Args:
        network: The network.
        integers: What each quantizer gives in the runtime, in the order in which they run, zero points included; None
            where it is not known.
        counts: Is added to.
    """
    remaining = iter(integers)

    def follow(quantizer: Quantizer, args: tuple[Tensor], output: Tensor) -> Tensor:
        theirs = next(remaining, None)
        if theirs is None:
            return output
        theirs = theirs.to(output) - quantizer.zero_point
        own, offset = quantizer.integers(args[0]), quantizer.offset(args[0])
        explained = (quantizer.steps(args[0]).clamp(*quantizer.grid_limits()) - theirs).abs() <= 0.5 + BORDER
        counts.values += own.numel()
        counts.border += int((explained & (own != theirs)).sum())
        counts.apart += int((~explained).sum())
        y = torch.where(explained, theirs, own) * quantizer.scale
        return y if offset is None else y - offset

    handles = [quantizer.register_forward_hook(follow) for _, quantizer in network.activation_quantizers()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
