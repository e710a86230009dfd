"""A loop's own state inside checkpoints."""

import json
from collections.abc import Mapping

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmsf.engine.storage import check_same_file, file_hash
from mmsf.errors import UserError
from mmsf.quantization import Bits
from mmsf.sensitivity import NoiseScoreCurve

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
    path = loop.runner.cfg.model.get("float_checkpoint")
    return {
        "settings": _settings(loop.runner.cfg),
        "float_checkpoint_hash": None if path is None else file_hash(path),
        "has_ranges": loop.has_ranges,
        "bits": {name: bits.as_list() for name, bits in loop.model.quantized.bits.items()},
        "layer_scores": {} if loop.bit_planner is None else loop.bit_planner.scores,
        "units": None if loop.model.loss_function is None else loop.model.loss_function.units,
        "curves": {name: curve.as_dict() for name, curve in loop.curves.items()},
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
    path = loop.runner.cfg.model.get("float_checkpoint")
    if path is not None and state["float_checkpoint_hash"] is not None:
        check_same_file(path, state["float_checkpoint_hash"])
    loop.has_ranges = state["has_ranges"]
    if loop.bit_planner is not None:
        loop.model.quantized.set_bits({name: Bits.parse(bits) for name, bits in state["bits"].items()})
        loop.bit_planner.scores = state["layer_scores"]
    loop.curves = {name: NoiseScoreCurve.fit(c["loss"], c["raw_score"]) for name, c in state["curves"].items()}
    if loop.model.loss_function is not None:
        loop.model.loss_function.units = state["units"]
    loop.stages, loop.errors, loop.lanes = state["stages"], state["errors"], state["lanes"]
    loop.frame_scores = state["frame_scores"]
    loop.seconds = state["seconds"]
    loop.cost.pairs = [tuple(pair) for pair in state["cost"]]


def _settings(cfg: Config) -> dict[str, str]:
    """Key of ``model`` and ``train_cfg``, such as 'model.quantizer.bits' -> its value as JSON."""

    def flat(key: str, value: object) -> dict[str, str]:
        if isinstance(value, Mapping):
            return {k: v for name, part in value.items() for k, v in flat(f"{key}.{name}", part).items()}
        return {} if key in FREE else {key: json.dumps(value, default=str)}

    return flat("model", cfg.model) | flat("train_cfg", cfg.train_cfg)
