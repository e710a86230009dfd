"""Parity: does a runtime compute what the quantized model computes?"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import confidence_error, semantic_error
from mmsf.deploy.following import Followed, following
from mmsf.deploy.frames import Frames
from mmsf.deploy.onnx_file import with_integers
from mmsf.deploy.runtime import Runtime, open_runtime
from mmsf.engine.wrapper import QuantWrapper
from mmsf.evaluation.agreement import agreement

LEAST_MARGIN = 6.0  # decibels
LEAST_F1 = 0.99
# Of the file as it stands, without following it: two roundings of their own are 3 dB apart from one; a wrong kernel is more.
LEAST_PLAIN_MARGIN = -10.0
# A relative error, root mean square, that float32 makes by itself.
FLOAT_NOISE = 1e-6


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        margins: Head or confidence -> decibels by which the runtime's deviation from the quantized model lies below the
            quantized model's own from the float one. The model takes the runtime's side on borders (`following`).
        plain_margins: The same without that: as far apart as the two end up.
        rounding: How the runtime's integers compare with the model's.
        f1: Of the runtime's lanes, those of the quantized model that takes its side in place of the labels.
        plain_f1: The same with the quantized model by itself.
        frames: Frames that were compared.
    """

    margins: dict[str, float]
    plain_margins: dict[str, float]
    rounding: Followed
    f1: float
    plain_f1: float
    frames: int

    @property
    def failures(self) -> list[str]:
        """What is not good enough, in words."""
        found = [
            f"{name} deviates by only {margin:.1f} dB less than quantization moves it ({LEAST_MARGIN:.0f} are asked for)"
            for name, margin in self.margins.items()
            if not margin >= LEAST_MARGIN
        ]
        found += [
            f"{name} itself deviates by {-margin:.1f} dB more than quantization moves it ({-LEAST_PLAIN_MARGIN:.0f} allowed)"
            for name, margin in self.plain_margins.items()
            if not margin >= LEAST_PLAIN_MARGIN
        ]
        if not self.f1 >= LEAST_F1:
            found.append(f"the lanes agree with an F1 of {self.f1:.3f} ({LEAST_F1} is asked for)")
        return found

    def __str__(self) -> str:
        plain = self.plain_margins
        margins = (f"{name} {margin:.1f} dB (plain {plain[name]:.1f})" for name, margin in self.margins.items())
        border, apart = (count / max(self.rounding.values, 1) for count in (self.rounding.border, self.rounding.apart))
        return (
            f"parity on {self.frames} frames: margins {', '.join(margins)}; of the integers {border:.1e} differ on borders, "
            f"{apart:.1e} otherwise; F1 of the lanes {self.f1:.3f} (plain {self.plain_f1:.3f})"
        )


@torch.no_grad()
def measure_parity(
    model: QuantWrapper, path: Path, frames: Frames, with_float_weights: bool = False, runtime: str | None = None
) -> Parity:
    """Compare on frames, one at a time.

    Errors are those of Eq. 6: of semantics where the confidence is high, and of confidences. Where a network itself chooses
    the places at which heads are computed, two models are compared at the same places.

    Args:
        model: The quantized model.
        path: The exported file.
        frames: The frames.
        with_float_weights: The model's float original holds its weights; otherwise the quantized model with its quantizers
            switched off stands for it.
        runtime: As `open_runtime`.
    """
    plain = open_runtime(path, runtime)
    with tempfile.TemporaryDirectory() as folder:
        open_file = Path(folder) / "integers.onnx"
        with_integers(path, open_file)
        observed = open_runtime(open_file, runtime)
        parts, counts = [], Followed()
        for image in frames.images.split(1):
            parts.append(_outputs(model, plain, observed, image, with_float_weights, counts))
    raws = ({name: torch.cat([raw[name] for raw in column]) for name in column[0]} for column in zip(*parts))
    exact, quantized, own, found, found_pair, seen, seen_pair = (model.adapter.split(raw) for raw in raws)
    moved = _errors(model.adapter, exact, quantized)
    noise = _errors(model.adapter, own, _scaled(own, 1 + FLOAT_NOISE))
    margins, plain_margins = (
        {name: _decibels(moved[name], error, noise[name]) for name, error in _errors(model.adapter, *pair).items()}
        for pair in ((seen_pair, seen), (found_pair, found))
    )
    sizes = [meta["ori_shape"][:2] for meta in frames.metas]
    f1, plain_f1 = (
        agreement(*(model.adapter.decode(heads, frames.metas) for heads in pair), sizes)["f1"]
        for pair in ((seen_pair, seen), (own, found))
    )
    return Parity(margins, plain_margins, counts, f1, plain_f1, len(frames.metas))


def _outputs(
    model: QuantWrapper, plain: Runtime, observed: Runtime, image: Tensor, with_float_weights: bool, counts: Followed
) -> list[dict[str, Tensor]]:
    """Raw outputs of one image: float, quantized at the float model's places, quantized by itself; the runtime's and the
    model's at the same places; the runtime's whose integers are seen, and those of the model that follows it."""
    if with_float_weights:
        exact = model.float_raw(image)
    else:
        with model.quantized.switched_off():
            exact = model.quantized_raw(image)
    found, seen = plain(image), observed(image)
    integers = [seen.get(name) for name in observed.description.integers]
    seen = {name: seen[name] for name in found}
    with following(model.quantized, integers, counts):
        seen_pair = model.quantized_raw(image, compared_to=seen)
    own = model.quantized_raw(image)
    found_pair = model.quantized_raw(image, compared_to=found) if model.adapter.places else own
    return [exact, model.quantized_raw(image, compared_to=exact), own, found, found_pair, seen, seen_pair]


def _errors(adapter: Adapter, target: HeadOutputs, output: HeadOutputs) -> dict[str, float]:
    """Head or confidence -> mean squared error."""
    errors = {name: semantic_error(adapter, target, output, name, 1.0).item() for name in adapter.semantic_heads}
    return {**errors, **{name: confidence_error(target, output, name).item() for name in target.confidences}}


def _scaled(heads: HeadOutputs, factor: float) -> HeadOutputs:
    parts = ({name: value.double() * factor for name, value in p.items()} for p in (heads.semantics, heads.confidences))
    return HeadOutputs(*parts, heads.constants)


def _decibels(moved: float, deviation: float, noise: float) -> float:
    return math.inf if deviation <= noise else 10 * math.log10(max(moved, 1e-300) / deviation)
