"""The second phase of post-training quantization: what the float model gives, how far the other is from it, and curves."""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from mmengine.dist import get_rank

from mmsf.adapters.base import HeadOutputs
from mmsf.adapters.errors import head_errors
from mmsf.engine.processes import of_first, shared_out
from mmsf.engine.progress import with_progress
from mmsf.errors import UserError
from mmsf.reconstruction import put_frames
from mmsf.sensitivity import CurveSettings, NoiseScoreCurve, measure_curves

Result = TypeVar("Result")
DIVERGED = "tuning diverged; lower the learning rates of optim_wrapper"


class FloatOutputs:
    """The part of `PTQLoop` that keeps float outputs, compares with them, and measures noise-score curves."""

    def keep_float_outputs(self) -> None:
        """Raw outputs of the float model for every calibration frame and its versions, computed once."""

        def run(part: list[int]) -> dict[str, torch.Tensor]:
            samples = [self.frames.samples[index] for index in part]
            return self.model.adapter.packed(self.model.float_target(self.images(part), samples))

        with self.timed("float outputs"):
            parts, kept = self.frames.parts(self.frames.everything), {}
            for part, raw in zip(parts, with_progress(shared_out(run, parts), len(parts), "float outputs")):
                put_frames(kept, raw, part[0], len(self.frames.samples), self.memory)
            self.model.kept_outputs = kept

    def see_lanes(self) -> None:
        """Find out whether the float model sees a lane in any calibration frame; warn if it does not."""
        self.sees_lanes = self._finds_lanes()
        if not self.sees_lanes:
            self.runner.logger.warning(
                f"the float model finds no lane in any of the {len(self.frames)} calibration frames: of its heads only the "
                "confidences can be compared; calibrate with frames that have lanes"
            )

    def _finds_lanes(self) -> bool:
        adapter = self.model.adapter
        for part in self.frames.parts():
            metas = [self.frames.samples[index].metainfo for index in part]
            if any(adapter.decode(self.model.kept_heads(part), metas)):
                return True
        return False

    def quantized_outputs(self, index: list[int] | None = None) -> dict[str, torch.Tensor]:
        """Raw outputs of the quantized model for calibration frames (default: all), at the places of the kept outputs."""
        raws = list(shared_out(self._quantized_outputs_of, self.frames.parts(index)))
        return {name: torch.cat([raw[name] for raw in raws]) for name in raws[0]}

    def _quantized_outputs_of(self, part: list[int]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            raw = self.model.quantized_raw(self.images(part), compared_to=self.model.kept_raw(part))
        return {name: tensor.cpu() for name, tensor in raw.items()}

    def compared(
        self, measure: Callable[[HeadOutputs, HeadOutputs], Result], index: list[int] | None = None
    ) -> Iterator[tuple[list[int], Result]]:
        """Compare float and quantized heads of calibration frames (default: all), batch after batch.

        Args:
            measure: What to do with both; its result goes to all processes.
            index: The frames.

        Yields:
            Which frames a batch has, and its result.
        """
        parts = self.frames.parts(index)

        def run(part: list[int]) -> Result:
            return measure(self.model.kept_heads(part), self.model.adapter.split(self._quantized_outputs_of(part)))

        return zip(parts, shared_out(run, parts))

    def measure_curves(self) -> None:
        """Units of the loss and noise-score curves, from kept float outputs and the calibrated model's errors."""
        adapter, loss = self.model.adapter, self.model.loss_function
        squares: dict[str, torch.Tensor] = {}
        errors: dict[str, torch.Tensor] = {}
        room = self.memory.rest(torch.device("cpu"))
        for part, (found, error) in self.compared(lambda *both: (loss.mean_squares(adapter, *both), head_errors(*both))):
            for name, square in found.items():
                squares[name] = squares.get(name, 0) + square.double() * (len(part) / len(self.frames))
            if get_rank() == 0:
                put_frames(errors, error, part[0], len(self.frames), room)
        loss.set_units({name: square.float() for name, square in squares.items()})
        self.curves = self.curves_of(errors, self.curve_settings)

    def curves_of(self, errors: dict[str, torch.Tensor], settings: CurveSettings) -> dict[str, NoiseScoreCurve]:
        """Noise-score curves whose noise looks like the given errors, head -> (E, ...), at the present iteration.

        The first process measures them; the others need no errors.
        """
        generator = torch.Generator().manual_seed(self.runner.seed * 1_000_003 + self._iter)
        with self.timed("curves"):
            return of_first(
                lambda: measure_curves(
                    self.model.adapter,
                    self.model.kept_heads,
                    errors,
                    [sample.metainfo for sample in self.frames.samples[: len(self.frames)]],
                    settings,
                    self.rule,
                    self.model.loss_function.semantic_error,
                    generator,
                )
            )

    def semantic_errors(self) -> dict[str, float]:
        """Semantic error of each head over all calibration frames."""
        adapter, loss = self.model.adapter, self.model.loss_function
        errors = dict.fromkeys(adapter.semantic_heads, 0.0)
        for part, found in self.compared(
            lambda *both: {name: loss.semantic_error(adapter, *both, name).item() for name in errors}
        ):
            for name, error in found.items():
                errors[name] += error * (len(part) / len(self.frames))
        return errors

    def compare_after(self) -> None:
        """Errors of the heads after tuning.

        Raises:
            UserError: One is NaN or infinite: the last steps broke the network.
        """
        self.errors["after"] = self.semantic_errors()
        if broken := [name for name, error in self.errors["after"].items() if not math.isfinite(error)]:
            raise UserError(f"the error of {', '.join(broken)} is NaN or infinite after tuning: {DIVERGED}")
