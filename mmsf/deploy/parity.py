"""Parity: does a runtime compute what the quantized model computes?"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import confidence_error, semantic_error
from mmsf.deploy.frames import Frames
from mmsf.deploy.runtime import Runtime
from mmsf.engine.wrapper import QuantWrapper
from mmsf.evaluation.agreement import agreement
from mmsf.quantization import QuantizedNetwork, Quantizer

LEAST_MARGIN = 6.0  # decibels
# By so many decibels a runtime may deviate more than the quantized model does from itself under rounding noise.
SLACK = 3.0
DRAWS = 3  # of this noise
LEAST_F1 = 0.99
# A relative error, root mean square, that float32 makes by itself.
FLOAT_NOISE = 1e-6


@dataclass(frozen=True)
class Parity:
    """What was found.

    A value that lies between two integers but for float32's last bit is rounded up by one program and down by the next, and
    in a deep network one such step makes others. So the quantized model deviates from itself as soon as every quantizer's
    input gets noise of float32's last bit. Where that alone is more than what is asked for, no runtime can do better; it
    must then be as near as this, and in any case nearer than the float model.

    Attributes:
        margins: Head or confidence -> decibels by which the runtime's deviation from the quantized model lies below the
            quantized model's own from the float one.
        own_margins: The same for the quantized model itself under that noise.
        f1: Of the runtime's lanes, those of the quantized model in place of the labels.
        frames: Frames that were compared.
    """

    margins: dict[str, float]
    own_margins: dict[str, float]
    f1: float
    frames: int

    def asked(self, name: str) -> float:
        """Least margin of a head, decibels."""
        return min(LEAST_MARGIN, max(self.own_margins[name] - SLACK, 0.0))

    @property
    def failures(self) -> list[str]:
        """What is not good enough, in words."""
        found = [
            f"{name} deviates by only {margin:.1f} dB less than quantization moves it ({self.asked(name):.1f} are asked for)"
            for name, margin in self.margins.items()
            if not margin >= self.asked(name)
        ]
        if not self.f1 >= LEAST_F1:
            found.append(f"the lanes agree with an F1 of {self.f1:.3f} ({LEAST_F1} is asked for)")
        return found

    def __str__(self) -> str:
        margins = (f"{name} {margin:.1f} dB (itself {self.own_margins[name]:.1f})" for name, margin in self.margins.items())
        return f"parity on {self.frames} frames: margins {', '.join(margins)}; F1 of the lanes {self.f1:.3f}"


@torch.no_grad()
def measure_parity(model: QuantWrapper, runtime: Runtime, frames: Frames, with_float_weights: bool = False) -> Parity:
    """Compare on frames, one at a time.

    Errors are those of Eq. 6: of semantics where the confidence is high, and of confidences. Where a network itself chooses
    the places at which heads are computed, two models are compared at the same places.

    Args:
        model: The quantized model.
        runtime: The exported file.
        frames: The frames.
        with_float_weights: The model's float original holds its weights; otherwise the quantized model with its quantizers
            switched off stands for it.
    """
    generator = torch.Generator().manual_seed(0)
    parts: list[tuple[dict[str, Tensor], ...]] = []
    for image in frames.images.split(1):
        if with_float_weights:
            exact = model.float_raw(image)
        else:
            with model.quantized.switched_off():
                exact = model.quantized_raw(image)
        found = runtime(image)
        own = model.quantized_raw(image)
        with rounding_noise(model.quantized, generator):
            noisy = [model.quantized_raw(image, compared_to=own) for _ in range(DRAWS)]
        pair = model.quantized_raw(image, compared_to=found) if model.adapter.places else own
        parts.append((exact, model.quantized_raw(image, compared_to=exact), found, pair, own, *noisy))
    raws = ({name: torch.cat([raw[name] for raw in column]) for name in column[0]} for column in zip(*parts))
    exact, quantized, found, reference, own, *noisy = (model.adapter.split(raw) for raw in raws)
    moved, deviation = _errors(model.adapter, exact, quantized), _errors(model.adapter, reference, found)
    draws = [_errors(model.adapter, own, heads) for heads in noisy]
    least = _errors(model.adapter, own, _scaled(own, 1 + FLOAT_NOISE))
    margins = {name: _decibels(moved[name], deviation[name], least[name]) for name in moved}
    own_margins = {name: _decibels(moved[name], sum(d[name] for d in draws) / DRAWS, least[name]) for name in moved}
    lanes = [model.adapter.decode(heads, frames.metas) for heads in (own, found)]
    sizes = [meta["ori_shape"][:2] for meta in frames.metas]
    return Parity(margins, own_margins, agreement(*lanes, sizes)["f1"], len(frames.metas))


@contextmanager
def rounding_noise(network: QuantizedNetwork, generator: torch.Generator) -> Iterator[None]:
    """While the block runs, activation quantizers get uniform noise, up to half a last bit of their largest value."""

    def add(quantizer: Quantizer, args: tuple[Tensor]) -> tuple[Tensor]:
        low, high = quantizer.grid_limits()
        bit = torch.finfo(torch.float32).eps * quantizer.scale * torch.maximum(-low, high)
        return (args[0] + (torch.rand(args[0].shape, generator=generator) - 0.5) * bit,)

    handles = [quantizer.register_forward_pre_hook(add) for _, quantizer in network.activation_quantizers()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _errors(adapter: Adapter, target: HeadOutputs, output: HeadOutputs) -> dict[str, float]:
    """Head or confidence -> mean squared error."""
    errors = {name: semantic_error(adapter, target, output, name, 1.0).item() for name in adapter.semantic_heads}
    return {**errors, **{name: confidence_error(target, output, name).item() for name in target.confidences}}


def _scaled(heads: HeadOutputs, factor: float) -> HeadOutputs:
    parts = ({name: value.double() * factor for name, value in p.items()} for p in (heads.semantics, heads.confidences))
    return HeadOutputs(*parts, heads.constants)


def _decibels(moved: float, deviation: float, noise: float) -> float:
    return math.inf if deviation <= noise else 10 * math.log10(max(moved, 1e-300) / deviation)
