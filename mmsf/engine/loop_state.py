"""A loop's own state inside checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmsf.datasets.base import LaneDataset
from mmsf.errors import UserError
from mmsf.evaluation.samples import frame_name
from mmsf.quantization import Bits
from mmsf.sensitivity import NoiseScoreCurve
from mmsf.sensitivity.curves import as_dicts

# What decides the result, besides the frames and the seed, which is the stopped run's: parts of the config, and hooks.
_COMPARED = ("model", "train_cfg", "optim_wrapper", "param_scheduler")
_HOOKS = {"SensitivityHook", "BestMomentHook"}
# What a resumed run may have otherwise than the stopped one: where files are, what it takes, how long it goes on.
FREE = {"model.float_checkpoint", "model.trust_checkpoint", "train_cfg.max_iters", "train_cfg.memory_mb"}


class LoopState(Hook):
    """Sends what a loop's ``state_dict`` gives through checkpoints, and back to its ``load_state_dict``.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: BaseLoop) -> None:
        self.loop = loop

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the state."""
        checkpoint["ptq"] = self.loop.state_dict()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take it up again, where there is one."""
        if "ptq" in checkpoint:
            self.loop.load_state_dict(checkpoint["ptq"])


def state_of(loop) -> dict:
    """What a resumed `PTQLoop` needs besides weights and optimizer."""
    return {
        "settings": _settings(loop.runner.cfg),
        "float_checkpoint_hash": loop.float_hash,
        "calibration": _calibration_names(loop),
        "has_ranges": loop.has_ranges,
        "bits": {name: bits.as_list() for name, bits in loop.model.quantized.bits.items()},
        "layer_scores": {} if loop.bit_planner is None else loop.bit_planner.scores,
        "units": None if loop.model.loss_function is None else loop.model.loss_function.units,
        "curves": as_dicts(loop.curves),
        "last_curves": as_dicts(loop.last_curves),
        "stages": loop.stages,
        "errors": loop.errors,
        "lanes": loop.lanes,
        "frame_scores": loop.frame_scores,
        "seconds": loop.seconds_so_far(),
        "cost": loop.cost.pairs,
    }


def take_up(loop, state: dict) -> None:
    """Give a `PTQLoop` the state of `state_of`.

    Raises:
        UserError: The float checkpoint is another file, or the run was made with other settings.
    """
    now = _settings(loop.runner.cfg)
    before = state.get("settings", now)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise UserError(
                f"the run in {loop.runner.work_dir} has {key} = {before.get(key, 'nothing')}, this one "
                f"{now.get(key, 'nothing')}; resume with the same settings or give another work directory"
            )
    if state["float_checkpoint_hash"] not in (None, loop.float_hash):
        raise UserError(
            f"{loop.runner.cfg.model.get('float_checkpoint')} is not the float checkpoint this run started from; resume "
            "with the same file or start anew"
        )
    loop.calibrated_on = state.get("calibration")
    loop.has_ranges = state["has_ranges"]
    if loop.bit_planner is not None:
        loop.model.quantized.set_bits({name: Bits.parse(bits) for name, bits in state["bits"].items()})
        loop.bit_planner.scores = state["layer_scores"]
    loop.curves, loop.last_curves = _curves(state["curves"]), _curves(state["last_curves"])
    if loop.model.loss_function is not None:
        loop.model.loss_function.units = state["units"]
    loop.stages, loop.errors, loop.lanes = state["stages"], state["errors"], state["lanes"]
    loop.frame_scores = state["frame_scores"]
    loop.seconds = state["seconds"]
    loop.cost.pairs = [tuple(pair) for pair in state["cost"]]


def _curves(plain: dict[str, dict]) -> dict[str, NoiseScoreCurve]:
    return {name: NoiseScoreCurve.fit(curve["loss"], curve["raw_score"]) for name, curve in plain.items()}


def check_frames(loop) -> None:
    """See that a resumed `PTQLoop` has the frames of the stopped run; lanes go by where frames lie now.

    Raises:
        UserError: It calibrates with other frames, or evaluates others.
    """
    if loop.calibrated_on not in (None, _calibration_names(loop)):
        raise _other_frames(loop, "was calibrated with")
    dataset = None if loop.runner.val_loop is None else loop.runner.val_loop.dataloader.dataset
    # What the samples of another project's say is known once they come.
    if not loop.lanes or not isinstance(dataset, LaneDataset):
        return
    now = sorted({dataset.get_data_info(index)["img_path"] for index in range(len(dataset))})
    before = sorted(next(iter(loop.lanes.values())))
    if [Path(path).name for path in before] != [Path(path).name for path in now]:
        raise _other_frames(loop, "evaluated")
    moved = dict(zip(before, now))
    loop.lanes = {stage: {moved[path]: found for path, found in own.items()} for stage, own in loop.lanes.items()}


def check_evaluated(loop, lanes: dict[str, dict]) -> None:
    """See that a stage has met the frames of those before it.

    Args:
        loop: The `PTQLoop`.
        lanes: The stage's, as `LaneRecorder` keeps them.

    Raises:
        UserError: It has met others.
    """
    if any(own.keys() != lanes.keys() for own in loop.lanes.values()):
        raise _other_frames(loop, "evaluated")


def _calibration_names(loop) -> list[str | None]:
    """Names of the calibration frames; those below a data set do not say where it is."""
    return [frame_name(sample.metainfo) for sample in loop.frames.samples[: len(loop.frames)]]


def _other_frames(loop, did: str) -> UserError:
    where = f"the run in {loop.runner.work_dir} {did} other frames"
    return UserError(f"{where}; resume with the same ones or give another work directory")


def _settings(cfg: Config) -> dict[str, str]:
    """Key of what decides the result, such as 'model.quantizer.bits' -> its value as JSON."""

    def flat(key: str, value: object) -> dict[str, str]:
        if isinstance(value, Mapping):
            return {k: v for name, part in value.items() for k, v in flat(f"{key}.{name}", part).items()}
        return {} if key in FREE else {key: json.dumps(value, default=str)}

    found = flat("train_dataloader.batch_size", cfg.train_dataloader.get("batch_size"))
    for key in _COMPARED:
        found |= flat(key, cfg.get(key))
    for hook in cfg.get("custom_hooks") or ():
        if (name := str(hook.get("type")).rpartition(".")[2]) in _HOOKS:
            found |= flat(f"custom_hooks.{name}", hook)
    return found
