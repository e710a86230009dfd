"""Parity: does a runtime compute what the quantized model computes?"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import confidence_error, semantic_error
from mmsf.deploy.frames import Frames
from mmsf.deploy.runtime import Runtime
from mmsf.engine.wrapper import QuantWrapper
from mmsf.evaluation.agreement import agreement

LEAST_MARGIN = 6.0  # decibels
LEAST_F1 = 0.99
# A relative error, root mean square, that float32 makes by itself.
FLOAT_NOISE = 1e-6


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        margins: Head or confidence -> decibels by which the runtime's deviation from the quantized model lies below the
            quantized model's own from the float one.
        f1: Of the runtime's lanes, those of the quantized model in place of the labels.
        frames: Frames that were compared.
    """

    margins: dict[str, float]
    f1: float
    frames: int

    @property
    def failures(self) -> list[str]:
        """What is not good enough, in words."""
        found = [
            f"{name} deviates by only {margin:.1f} dB less than quantization moves it ({LEAST_MARGIN:.0f} are asked for)"
            for name, margin in self.margins.items()
            if not margin >= LEAST_MARGIN
        ]
        if not self.f1 >= LEAST_F1:
            found.append(f"the lanes agree with an F1 of {self.f1:.3f} ({LEAST_F1} is asked for)")
        return found

    def __str__(self) -> str:
        margins = ", ".join(f"{name} {margin:.1f} dB" for name, margin in self.margins.items())
        return f"parity on {self.frames} frames: margins {margins}; F1 of the lanes {self.f1:.3f}"


@torch.no_grad()
def measure_parity(model: QuantWrapper, runtime: Runtime, frames: Frames, with_float_weights: bool = False) -> Parity:
    """Compare on frames, one at a time.

    Errors are those of Eq. 6: of semantics where the confidence is high, and of confidences. Where a network itself chooses the
    places at which heads are computed, two models are compared at the same places.

    Args:
        model: The quantized model.
        runtime: The exported file.
        frames: The frames.
        with_float_weights: The model's float original holds its weights; otherwise the quantized model with its quantizers
            switched off stands for it.
    """
    parts: list[tuple[dict[str, Tensor], ...]] = []
    for image in frames.images.split(1):
        if with_float_weights:
            exact = model.float_raw(image)
        else:
            with model.quantized.switched_off():
                exact = model.quantized_raw(image)
        found = runtime(image)
        parts.append(
            (
                *(exact, model.quantized_raw(image, compared_to=exact)),
                *(found, model.quantized_raw(image, compared_to=found)),
                model.quantized_raw(image),
            )
        )
    raws = ({name: torch.cat([raw[name] for raw in column]) for name in column[0]} for column in zip(*parts))
    exact, quantized, found, reference, own = (model.adapter.split(raw) for raw in raws)
    moved, deviation = _errors(model.adapter, exact, quantized), _errors(model.adapter, reference, found)
    noise = _errors(model.adapter, reference, _scaled(reference, 1 + FLOAT_NOISE))
    margins = {name: _decibels(moved[name], deviation[name], noise[name]) for name in moved}
    lanes = [model.adapter.decode(heads, frames.metas) for heads in (own, found)]
    sizes = [meta["ori_shape"][:2] for meta in frames.metas]
    return Parity(margins, agreement(*lanes, sizes)["f1"], len(frames.metas))


def _errors(adapter: Adapter, target: HeadOutputs, output: HeadOutputs) -> dict[str, float]:
    """Head or confidence -> mean squared error."""
    errors = {name: semantic_error(adapter, target, output, name, 1.0).item() for name in adapter.semantic_heads}
    return {**errors, **{name: confidence_error(target, output, name).item() for name in target.confidences}}


def _scaled(heads: HeadOutputs, factor: float) -> HeadOutputs:
    parts = ({name: value.double() * factor for name, value in p.items()} for p in (heads.semantics, heads.confidences))
    return HeadOutputs(*parts, heads.constants)


def _decibels(moved: float, deviation: float, noise: float) -> float:
    return math.inf if deviation <= noise else 10 * math.log10(max(moved, 1e-300) / deviation)
