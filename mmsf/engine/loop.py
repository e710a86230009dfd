"""The loop of post-training quantization: the phases before tuning, tuning, and evaluation of every stage."""

import math
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from mmsf.engine.bit_planner import BitPlanner
from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.cost import IterationCost, float_step
from mmsf.engine.float_outputs import DIVERGED, FloatOutputs
from mmsf.engine.loop_state import LoopState, check_evaluated, check_frames, state_of, take_up
from mmsf.engine.processes import of_first, unwrapped
from mmsf.engine.range_phase import RangePhase
from mmsf.engine.storage import WHOLE_OR_ABSENT, file_hash
from mmsf.engine.validation import validate
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError, make, require_whole
from mmsf.lanes.distortion import DistortionRule
from mmsf.quantization import RangeEstimator
from mmsf.reconstruction import TensorMemory
from mmsf.registry import LOOPS, TASK_UTILS
from mmsf.sensitivity import CurveSettings, NoiseScoreCurve

CHECKED_FRAMES = 8
CHECK_INTERVAL = 50  # iterations


@LOOPS.register_module()
class PTQLoop(RangePhase, FloatOutputs, BaseLoop):
    """Ranges, float outputs, curves, tuning, and the Runner's validation for the float, calibrated and quantized model.

    Several processes (MMEngine's launchers) share calibration frames and tuning batches; ranges, curves and selection come
    out as in one.

    Args:
        runner: The runner.
        dataloader: Calibration frames, images only; its batch size is the tuning batch's, that of all processes together.
        max_iters: Tuning iterations; 0 ends the run after range estimation: the quantized model is the calibrated one.
        weight_range: Config of the range estimator of weights.
        activation_range: Config of the range estimator of activations.
        weight_correction: Correct norm and mean of the quantized weights, see `correcting_weights`.
        equalisation: Rescale channels between layers before ranges are estimated, see `equalise`.
        curves: Arguments of `CurveSettings`.
        distortion: Arguments of `DistortionRule`.
        bit_planner: Arguments of `BitPlanner`, which gives the layers that move the lanes most more bits, under a budget.
            None keeps the bits of the model's config.
        tuning_frames: Where there are fewer calibration frames, tuning also sees versions of them, mirrored, turned, and lit
            differently, as many as that takes; ranges, curves and scores see the frames alone.
        cost_samples: How often the iteration is timed against the float network's forward and backward.
        memory_mb: Megabytes (2^20 bytes) that calibration images and kept outputs may take in each process's memory; the
            rest lies in memory-mapped files of the work directory. What a network needs to run is not counted.

    Attributes:
        memory: Where they are kept.
        frames: The calibration frames.
        curves: Semantic head -> noise-score curve, around the errors before tuning.
        last_curves: The same, of the heads whose curves were measured again while tuning, around their last errors.
        stages: Stage -> metrics of the validation.
        lanes: Stage -> image path -> lanes of the validation, as `LaneRecorder` keeps them.
        frame_scores: Stage -> ``columns``, ``frames`` (names) and ``scores`` (a row a frame) of the first metric with them.
        errors: 'before' and 'after' tuning -> head -> semantic error on the calibration frames.
        seconds: Phase -> seconds, without those of phases inside it.
        float_hash: Hash of the float checkpoint as it was read; None without one.
        calibrated_on: Names of the calibration frames of the run that is resumed, if it is known.
        sees_lanes: Whether the float model finds a lane in any calibration frame. If not, the confidences alone are tuned.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        weight_range: dict,
        activation_range: dict,
        weight_correction: bool = False,
        equalisation: bool = False,
        curves: dict | None = None,
        distortion: dict | None = None,
        bit_planner: dict | None = None,
        tuning_frames: int = 0,
        cost_samples: int = 5,
        memory_mb: float = 4096,
    ) -> None:
        super().__init__(runner, dataloader)
        for name, count in (("max_iters", max_iters), ("tuning_frames", tuning_frames), ("cost_samples", cost_samples)):
            require_whole("train_cfg", name, count, 0)
        if self.model.label_focus and not getattr(self.dataloader.dataset, "labelled", True):
            raise UserError("model.label_focus needs labels; set train_dataloader.dataset.labelled=True")
        if self.model.label_focus and tuning_frames:
            raise UserError("model.label_focus does not go with train_cfg.tuning_frames: versions of frames have no labels")
        if equalisation and self.model.quantized.settings.activation_channel_bits:
            raise UserError("train_cfg.equalisation does not go with model.quantizer.activation_channel_bits")
        if max_iters == 0:
            runner.param_schedulers = []  # over no iterations there is nothing to schedule
        self._max_iters = max_iters
        self._iter = 0
        self.weight_range: RangeEstimator = TASK_UTILS.build(weight_range)
        self.activation_range: RangeEstimator = TASK_UTILS.build(activation_range)
        self.weight_correction, self.equalisation = weight_correction, equalisation
        self.curve_settings = make(CurveSettings, curves or {}, "train_cfg.curves")
        self.rule = make(DistortionRule, distortion or {}, "train_cfg.distortion")
        self.bit_planner = None if bit_planner is None else make(BitPlanner, bit_planner, "train_cfg.bit_planner")
        if self.bit_planner is not None:
            self.bit_planner.check(self.model.quantized.uniform_bits)
        self.tuning_frames = tuning_frames if max_iters else 0
        self.cost = IterationCost(max_iters, cost_samples)
        self.has_ranges = False
        self.curves: dict[str, NoiseScoreCurve] = {}
        self.last_curves: dict[str, NoiseScoreCurve] = {}
        self.stages: dict[str, dict] = {}
        self.errors: dict[str, dict[str, float]] = {}
        self.lanes: dict[str, dict[str, dict]] = {}
        self.frame_scores: dict[str, dict[str, list]] = {}
        self.seconds: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self.memory = TensorMemory(Path(runner.work_dir), memory_mb, torch.device("cpu"))
        self.frames: CalibrationFrames | None = None
        checkpoint = runner.cfg.model.get("float_checkpoint")
        self.float_hash = None if checkpoint is None else file_hash(checkpoint)
        self.calibrated_on: list[str] | None = None
        self.sees_lanes = True
        self._count_frames_of_all_processes()
        runner.register_hook(LoopState(self), priority="NORMAL")

    def _count_frames_of_all_processes(self) -> None:
        """Divide the gradients of learned activation scales by the root of the values of a whole batch (LSQ's rule)."""
        processes = get_world_size()
        for _, quantizer in self.model.quantized.activation_quantizers() if processes > 1 else ():
            for learned in (quantizer.scale, quantizer.zero_point):
                if learned.requires_grad:
                    learned.register_hook(lambda gradient: gradient * processes**-0.5)

    # What MMEngine's hooks ask of a train loop.
    max_epochs = 1
    epoch = 0

    @property
    def _epoch(self) -> int:
        return 0

    @_epoch.setter
    def _epoch(self, value: int) -> None:
        """One calibration is one epoch, whatever a checkpoint says."""

    @property
    def max_iters(self) -> int:
        """Tuning iterations."""
        return self._max_iters

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def tunes(self) -> bool:
        """Whether weights will be tuned after range estimation."""
        return self._max_iters > 0

    @property
    def batch_size(self) -> int:
        """Frames of a tuning iteration."""
        return self.frames.batch_size

    @property
    def sample_passes(self) -> float:
        """What tuning has cost so far: forward passes of the whole quantized network, each on one frame.

        A loop whose iterations run a part of the network counts that part's share of the multiply-accumulates.
        """
        return float(self._iter * self.batch_size)

    @property
    def frame_counts(self) -> dict[str, int]:
        """What the frames are for -> how many."""
        evaluation = 0 if self.runner.val_loop is None else len(self.runner.val_loop.dataloader.dataset)
        return {"calibration": len(self.frames), "evaluation": evaluation}

    @property
    def model(self) -> QuantWrapper:
        """The wrapper, without a wrapper for several processes around it."""
        return unwrapped(self.runner.model)

    def run(self) -> torch.nn.Module:
        """The recipe."""
        self.runner.call_hook("before_train")
        self.runner.model.train()
        with self.timed("loading"):
            self.frames = CalibrationFrames.collect(
                self.dataloader, self.memory, at_least=self.tuning_frames, seed=self.runner.seed
            )
            self.model.adapter.complete(self.frames.samples)
        if self.frames.versions > 1:
            told = f"{len(self.frames)} calibration frames, tuned on in {self.frames.versions} versions each"
            self.runner.logger.info(told)
        if self._max_iters and self.batch_size % get_world_size():
            raise UserError(
                f"{get_world_size()} processes cannot share batches of {self.batch_size} frames; set "
                "train_dataloader.batch_size to a multiple"
            )
        check_frames(self)
        self.check_decoding()
        self.evaluate("float")
        if not self.has_ranges:
            self.estimate_ranges()
            self.save("ranges.pth")
        self.evaluate("calibrated")
        if self.tunes:
            self._keep_checkpoints()
            self.tune_from_ranges()
            self.model.quantized.settle()
            self.evaluate("quantized")
        else:
            for results in (self.stages, self.lanes, self.frame_scores):
                if "calibrated" in results:
                    results["quantized"] = results["calibrated"]
        self.runner.call_hook("after_train")
        return self.runner.model

    def _keep_checkpoints(self) -> None:
        """Let MMEngine's hook keep one every tenth of tuning at least: its interval is that of long trainings."""
        for hook in self.runner.hooks:
            if isinstance(hook, CheckpointHook):
                hook.interval = min(hook.interval, max(100, self._max_iters // 10))

    def check_decoding(self) -> None:
        """Let the adapter make sure that it decodes as the detector predicts, before hours are spent."""
        index = list(range(0, len(self.frames), -(-len(self.frames) // CHECKED_FRAMES)))
        batch = self.preprocess(self.frames.batch(index))
        self.model.adapter.check_decoding(batch["inputs"], batch["data_samples"])

    def tune_from_ranges(self) -> None:
        """Float outputs, curves and tuning of the calibrated model."""
        self.keep_float_outputs()
        self.see_lanes()
        if not self.sees_lanes:
            self.model.head_weights.zero_()
        if not self.curves:
            self.measure_curves()
            self.save("curves.pth")
        self.tune()

    def tune(self) -> None:
        """Iterations of the optimizer, through the Runner's hooks; to them, tuning is the epoch."""
        if "before" not in self.errors:
            self.errors["before"] = self.semantic_errors()
        with self.timed("tuning"):
            self.runner.call_hook("before_train_epoch")
            while self._iter < self._max_iters:
                self.run_iter(self.frames.tuning_batch(self._iter, self.runner.seed))
            self.runner.call_hook("after_train_epoch")
        self.compare_after()

    def run_iter(self, data_batch: dict) -> None:
        """One iteration on a mini-batch."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        with self.cost.sampling(
            self._iter, lambda: float_step(self.model.float_detector, self.preprocess(data_batch)["inputs"])
        ):
            outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        # On a GPU asking means waiting for it.
        loss = outputs["loss"].detach()
        asked = loss.device.type == "cpu" or self._iter % CHECK_INTERVAL == 0
        if asked and not loss.isfinite():
            broken = [name for name, value in outputs.items() if name != "loss" and not math.isfinite(value)]
            raise UserError(f"{', '.join(broken) or 'loss'} is NaN or infinite at iteration {self._iter}: {DIVERGED}")
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def evaluate(self, stage: str) -> None:
        """The Runner's validation of one stage, unless a resumed run has it already."""
        if stage in self.stages or self.runner.val_loop is None:
            return
        self.runner.logger.info(f"evaluating the {stage} model")
        self.model.predicts_in_float = stage == "float"
        try:
            with self.timed(f"evaluation, {stage}"):
                lanes: dict[str, dict] = {}
                floats = None if stage == "float" else self.lanes.get("float", {})
                self.stages[stage], scores = validate(self.runner, lanes, floats)
                # Metrics come together in the first process.
                lanes = of_first(lambda: lanes)
                check_evaluated(self, lanes)
                self.lanes[stage] = lanes
        finally:
            self.model.predicts_in_float = False
        if scores is not None:
            self.frame_scores[stage] = scores
        # By the stage's name: MMEngine writes every validation at the same step.
        self.runner.visualizer.add_scalars({f"{stage}/{n}": v for n, v in self.stages[stage].items()}, step=self._iter)
        self.runner.model.train()

    def images(self, index: list[int]) -> torch.Tensor:
        """Preprocessed images (B, 3, H, W) of calibration frames, on the model's device."""
        return self.preprocess(self.frames.batch(index))["inputs"]

    def preprocess(self, data_batch: dict) -> dict:
        """The model's own preprocessing of a batch, on the model's device."""
        return self.model.data_preprocessor(data_batch, training=False)

    def save(self, filename: str) -> None:
        """Write a checkpoint of the run as it stands."""
        self.runner.save_checkpoint(
            self.runner.work_dir,
            filename,
            meta=dict(epoch=0, iter=self._iter),
            by_epoch=False,
            backend_args=WHOLE_OR_ABSENT,
        )

    @contextmanager
    def timed(self, phase: str):
        """Add the block's wall time to ``seconds``; a phase around it does not count it too."""
        self._begun[phase] = time.perf_counter()
        yield
        took = time.perf_counter() - self._begun.pop(phase)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + took
        for outer in self._begun:
            self._begun[outer] += took

    def seconds_so_far(self) -> dict[str, float]:
        """``seconds``, and what the phases that are under way have taken until now."""
        now = time.perf_counter()
        return self.seconds | {phase: self.seconds.get(phase, 0.0) + now - begun for phase, begun in self._begun.items()}

    def state_dict(self) -> dict:
        """What a resumed run needs besides weights and optimizer."""
        return state_of(self)

    def load_state_dict(self, state: dict) -> None:
        """Take up a run where it was saved.

        Raises:
            UserError: The float checkpoint is another file.
        """
        take_up(self, state)
