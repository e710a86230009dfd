"""The loop of the methods that tune a network block by block or layer by layer: AdaRound, BRECQ, QDrop."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from mmengine.dist import get_world_size
from mmengine.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from mmsf.engine.best_moment_hook import BestMomentHook
from mmsf.engine.loop import PTQLoop
from mmsf.engine.progress import Progress
from mmsf.engine.sensitivity_hook import SensitivityHook
from mmsf.errors import UserError, make
from mmsf.models.blocks import BLOCKS
from mmsf.quantization import switched_off
from mmsf.reconstruction import (
    Kept,
    ReconstructionSettings,
    Replay,
    Unit,
    UnitData,
    UnitTuner,
    find_units,
    lane_gradients,
    normalise,
    record,
    squared_gradients,
)
from mmsf.registry import LOOPS

STAGES = ("rounding", "scales")
# What every unit's iteration costs beside its arithmetic, in an average unit's iterations; small LaneATT, LSTR, CondLaneNet.
CALL_SHARE = 0.1


@LOOPS.register_module()
class BlockwiseLoop(PTQLoop):
    """`PTQLoop` whose tuning takes one unit of the network after the other, in the order in which they run.

    A unit's inputs come from the network as quantized so far, its targets from the float network. Both are kept for all
    calibration frames; see `Replay` for what of the network is run for that. A run resumes at the unit where it was stopped.

    The optimizer of ``optim_wrapper`` gives type and settings of the units' own ones; it never makes a step itself.

    Args:
        runner: The runner.
        dataloader: Calibration frames, images only; its batch size is that of runs of the whole network.
        weight_range: As `PTQLoop`.
        activation_range: As `PTQLoop`.
        reconstruction: Arguments of `ReconstructionSettings`.
        memory_mb: As `PTQLoop`; what images and kept outputs leave of it, a unit's inputs and outputs may take on the
            model's device while the unit is tuned, and up to half of that, outputs of what runs before the unit.
        equalisation: As `PTQLoop`.
        curves: As `PTQLoop`.
        distortion: As `PTQLoop`.

    Attributes:
        units: The units.
        unit_errors: Stage -> unit -> error of its outputs on the calibration frames, before and after.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        weight_range: dict,
        activation_range: dict,
        reconstruction: dict,
        memory_mb: float = 4096,
        equalisation: bool = False,
        curves: dict | None = None,
        distortion: dict | None = None,
    ) -> None:
        super().__init__(
            runner,
            dataloader,
            0,
            weight_range,
            activation_range,
            equalisation=equalisation,
            curves=curves,
            distortion=distortion,
            cost_samples=0,
            memory_mb=memory_mb,
        )
        if get_world_size() > 1:
            raise UserError("BlockwiseLoop tunes unit after unit in one process; start it without --launcher")
        for hook in runner.hooks:
            if isinstance(hook, BestMomentHook | SensitivityHook):
                raise UserError(
                    f"BlockwiseLoop tunes on no loss over heads, so {type(hook).__name__} cannot act; leave it out"
                )
        self.settings = make(ReconstructionSettings, reconstruction, "train_cfg.reconstruction")
        network = self.model.quantized
        # Before a checkpoint of a stopped run is loaded, the weights are the float ones.
        self.float_weights = self._present_weights()
        self.units = find_units(network, self._run_on_nothing, BLOCKS if self.settings.units == "block" else ())
        self.done = dict.fromkeys(STAGES, 0)
        self._replays: dict[str, Replay] = {}
        self.has_final_ranges = False
        self.unit_errors: dict[str, dict[str, list[float]]] = {stage: {} for stage in STAGES}
        tuned = [(stage, unit) for stage in STAGES for unit in self.units if self._iterations(stage, unit)]
        self._max_iters = sum(self._iterations(stage, unit) for stage, unit in tuned)

    def _present_weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, _, weight in self.model.quantized.quantized_weights()}

    def equalise(self) -> None:
        """As `PTQLoop`; the float network's weights are the rescaled ones from now on, as its biases are."""
        super().equalise()
        self.float_weights = self._present_weights()

    def _run_on_nothing(self, frames: int) -> dict[str, Tensor]:
        with torch.no_grad(), self.model.quantized.in_float(self.float_weights):
            return self.model.quantized_raw(self.model.head_weights.new_zeros(frames, 3, *self.model.input_size))

    def _iterations(self, stage: str, unit: Unit) -> int:
        """Iterations of a unit in a stage; 0 where it has nothing to tune."""
        joint = self.settings.keep_probability is not None
        scales = any(quantizer.settings.learn_scale for quantizer in unit.activations.values())
        if stage == "scales":
            return self.settings.scale_iterations if scales and not joint else 0
        weights = any(layer.weight_quantizer is not None for layer in unit.layers.values())
        return self.settings.iterations if weights or (scales and joint) else 0

    @property
    def batch_size(self) -> int:
        """Frames of a unit's mini-batch."""
        return min(self.settings.batch_size, len(self.frames))

    @property
    def sample_passes(self) -> float:
        """As `PTQLoop`: every unit that is done by its share of the multiply-accumulates."""
        passes = [
            self._iterations(stage, unit) * self._macs(unit) for stage in STAGES for unit in self.units[: self.done[stage]]
        ]
        return self.batch_size * sum(passes) / self._all_macs()

    def _macs(self, unit: Unit) -> int:
        """Multiply-accumulates of a unit, for one frame."""
        return sum(self.model.quantized.multiply_accumulates[name] for name in unit.layers)

    def _all_macs(self) -> int:
        """Those of the network."""
        return sum(self.model.quantized.multiply_accumulates.values())

    def _cost(self, unit: Unit) -> float:
        """About what an iteration of a unit costs beside one of the others: its multiply-accumulates, and what all cost."""
        return self._macs(unit) + CALL_SHARE * self._all_macs() / len(self.units)

    def _work(self) -> tuple[float, float]:
        """What is done of the tuning, and all of it, in the unit of `_cost`."""
        parts = [
            (number < self.done[stage], self._iterations(stage, unit) * self._cost(unit))
            for stage in STAGES
            for number, unit in enumerate(self.units)
        ]
        return sum(work for is_done, work in parts if is_done), sum(work for _, work in parts)

    def tune(self) -> None:
        """Unit after unit."""
        if "before" not in self.errors:
            self.errors["before"] = self.semantic_errors()
        # Roundings and scales alone are tuned; every unit makes its own parameters.
        self.model.requires_grad_(False)
        progress = Progress("tuning", *self._work())
        joint = self.settings.keep_probability is not None
        activations = [quantizer for _, quantizer in self.model.quantized.activation_quantizers()]
        with nullcontext() if joint else switched_off(activations):
            self._tune_stage("rounding", progress)
        if not joint:
            if not self.has_final_ranges:
                with self.timed("ranges"):
                    self.model.quantized.set_activation_ranges(self.observe(), self.activation_range)
                self.has_final_ranges = True
            self._tune_stage("scales", progress)
        self.compare_after()

    def _tune_stage(self, stage: str, progress: Progress) -> None:
        self._replays = self._new_replays()
        for number in range(self.done[stage], len(self.units)):
            unit = self.units[number]
            self.done[stage] = number + 1
            if self._iterations(stage, unit):
                with self.timed("tuning"):
                    self._tune_unit(stage, number, progress)
                self._iter += self._iterations(stage, unit)
                self.save("units.pth")

    def _new_replays(self) -> dict[str, Replay]:
        return {side: Replay(self.model.quantized.network, self.memory.free / 4) for side in ("quantized", "float")}

    def _tune_unit(self, stage: str, number: int, progress: Progress) -> None:
        unit, device = self.units[number], self.model.head_weights.device
        seed = (self.runner.seed * len(STAGES) + STAGES.index(stage)) * 1_000_003 + number
        data = self._data(stage, number, torch.Generator().manual_seed(seed))
        tuner = UnitTuner(self.model.quantized, unit, data, self.settings, self._optimizer, seed, device)
        title = f"{stage}, unit {number + 1} of {len(self.units)}, {unit.name}"
        work = self._cost(unit)

        def report(iteration: int, error: Tensor, rounding: Tensor | None) -> None:
            if progress.due(work):
                losses = f"error {error.item():.4g}" + ("" if rounding is None else f", rounding {rounding.item():.4g}")
                progress.log(f"{title}: iteration {iteration + 1} of {self._iterations(stage, unit)}, {losses}")

        before = tuner.error()
        getattr(tuner, f"tune_{stage}")(report)
        after = tuner.error()
        if not math.isfinite(after):
            raise UserError(f"{title}: the error is NaN or infinite: tuning diverged; lower optim_wrapper.optimizer.lr")
        self.unit_errors[stage][unit.name] = [before, after]
        progress.log(f"{title}: error {before:.4g} before, {after:.4g} after")

    def _optimizer(self, groups: list[dict]) -> Optimizer:
        return OPTIMIZERS.build(dict(self.runner.cfg.optim_wrapper.optimizer, params=groups))

    def _data(self, stage: str, number: int, generator: torch.Generator) -> UnitData:
        """Run the network up to the unit, in float and as quantized so far; ``generator`` is of the 'lanes' objective."""
        unit, network = self.units[number], self.model.quantized
        quantized, floating = self._replays["quantized"], self._replays["float"]
        memory = self.memory.rest(self.model.head_weights.device, quantized.room + floating.room)
        rounding = stage == "rounding"
        mixing = rounding and self.settings.keep_probability is not None
        keep = partial(Kept, joined=unit.joined, frames=len(self.frames), memory=memory)
        ins, outs = [call.inputs for call in unit.calls], [call.outputs for call in unit.calls]
        data = UnitData(len(self.frames), keep(ins), keep(outs), keep(ins) if mixing else None)
        if rounding and self.settings.objective != "mse":
            data.importance = keep(outs)
            later = [quantizer for other in self.units[number + 1 :] for quantizer in other.quantizers()]
        for place, batch in enumerate(self.frames.batches()):
            images, kept = self._images_and_target(batch)
            run: Callable = partial(self.model.quantized_raw, images, compared_to=kept)
            with torch.no_grad():
                with quantized.before(unit, place):
                    data.inputs.append(values for values, _ in record(unit, run)[0])
                with network.in_float(self.float_weights), floating.before(unit, place):
                    runs, _ = record(unit, run)
            data.targets.append(tensors for _, tensors in runs)
            if data.float_inputs is not None:
                data.float_inputs.append(values for values, _ in runs)
            if data.importance is not None:
                with switched_off(later), quantized.before(unit, place):
                    runs, raw = record(unit, run, to_the_end=True)
                squares = iter(self._importance(kept, raw, [t for _, tensors in runs for t in tensors], generator))
                data.importance.append([next(squares) for _ in tensors] for _, tensors in runs)
        if data.importance is not None:
            normalise(data.importance)
        return data

    def _images_and_target(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        kept = self.model.kept_raw([sample.metainfo["calibration_index"] for sample in batch["data_samples"]])
        return self.preprocess(batch)["inputs"], kept

    def _importance(
        self, target: dict[str, Tensor], raw: dict[str, Tensor], outputs: list[Tensor], generator: torch.Generator
    ) -> list[Tensor]:
        """Weights of the errors of a unit's ``outputs``, on which the raw outputs depend; not normalised."""
        if self.settings.objective == "fisher":
            frames = len(next(iter(target.values())))
            return squared_gradients(self._head_loss(target, raw), outputs, frames)
        adapter = self.model.adapter
        return lane_gradients(
            adapter,
            adapter.split(target),
            adapter.split(raw),
            outputs,
            self.rule.match_distance,
            self.settings.draws,
            generator,
        )

    def _head_loss(self, target: dict[str, Tensor], output: dict[str, Tensor]) -> Tensor:
        """The detector's own loss between float and quantized raw outputs, every head counting alike."""
        model, split = self.model, self.model.adapter.split
        weights = torch.ones_like(model.head_weights)
        losses = model.loss_function(model.adapter, split(target), split(output), weights)
        return sum(value for name, value in losses.items() if name.startswith("loss_"))

    def state_dict(self) -> dict:
        """As `PTQLoop`, and which units are done."""
        done = dict(done=dict(self.done), has_final_ranges=self.has_final_ranges, unit_errors=self.unit_errors)
        if self.equalisation and self.has_ranges:
            done["float_weights"] = self.float_weights
        return {**super().state_dict(), "reconstruction": done}

    def load_state_dict(self, state: dict) -> None:
        """As `PTQLoop`."""
        super().load_state_dict(state)
        done = state["reconstruction"]
        self.done, self.has_final_ranges, self.unit_errors = done["done"], done["has_final_ranges"], done["unit_errors"]
        device = self.model.head_weights.device
        self.float_weights |= {name: weight.to(device) for name, weight in done.get("float_weights", {}).items()}
