"""Short tuning of a small LaneATT with further hooks, in this process."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from originals import ROOT
from small_detectors import INPUT_SIZE, SMALL, small

from mmsf.engine.ptq import quantize
from mmsf.registry import HOOKS

FAMILY = "laneatt"
ITERATIONS = 4


class Stopped(Exception):
    """A run was stopped on purpose."""


@HOOKS.register_module()
class StopAfter(Hook):
    """Stops a run behind everything else that an iteration does."""

    priority = "LOWEST"

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == self.iterations:
            raise Stopped


@HOOKS.register_module()
class RemoveAfter(Hook):
    """Removes a file after an iteration."""

    def __init__(self, iterations: int, file: str) -> None:
        self.iterations, self.file = iterations, Path(file)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == self.iterations:
            self.file.unlink()


def tuned(
    roads: Path, work_dir: Path, *hooks: dict, rate: float = 1e-3, selection: str = "top-k", resume: bool = False, **options
) -> Runner:
    """Four iterations on the roads, a checkpoint after each, no evaluation, with ``hooks`` besides the usual ones.

    Args:
        rate: Learning rate, also that of weights as a share of their size.
        selection: As `SensitivityHook`.
        **options: Of the config; "__" stands for a dot.
    """
    work_dir.mkdir(exist_ok=True)
    # The same bytes every time, as a resumed run asks for them.
    if not (work_dir / "float.pth").exists():
        torch.save({"state_dict": small(FAMILY).state_dict()}, work_dir / "float.pth")
    given = {f"model.detector.{key}": value for key, value in SMALL[FAMILY].items()}
    usual = [
        dict(type="mmsf.SensitivityHook", interval=2, rest_weight=0.25, selection=selection),
        dict(type="mmsf.ResultHook", method="selective-focus", preset="selective-focus", overlays=0),
    ]
    given |= {
        "model.input_size": INPUT_SIZE[FAMILY],
        "train_dataloader.dataset.pipeline.0.scale": INPUT_SIZE[FAMILY][::-1],
        "train_dataloader.batch_size": 2,
        **dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator")),
        "train_cfg.max_iters": ITERATIONS,
        "train_cfg.cost_samples": 0,
        "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=3, draws=1),
        "optim_wrapper.optimizer.lr": rate,
        "optim_wrapper.paramwise_cfg.weight_rate": rate,
        "custom_hooks": [*usual, *hooks],
        "default_hooks.checkpoint.interval": 1,
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    return quantize(
        ROOT / "configs" / "ptq" / f"{FAMILY}_r18_culane_w4a4_selective-focus.py",
        checkpoint=str(work_dir / "float.pth"),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
        work_dir=str(work_dir),
        resume=resume,
        options={**given, **{key.replace("__", "."): value for key, value in options.items()}},
    )


@HOOKS.register_module()
class SpoilAfter(Hook):
    """Makes everything a lane after an iteration."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == self.iterations:
            with torch.no_grad():
                runner.model.quantized.network.cls_layer.bias.copy_(torch.tensor([-50.0, 50.0]))


def state(runner: Runner) -> dict[str, torch.Tensor]:
    """Weights, scales and selection that a run ended with."""
    return runner.train_loop.model.state_dict()


def assert_resumes_exactly(roads: Path, work_dir: Path, hooks: list[dict], after: int, **settings) -> tuple[Runner, Runner]:
    """A run that is stopped and resumed ends with the same bits as one that is not; that one, and the resumed one."""
    whole = tuned(roads, work_dir / "whole", *hooks, **settings)
    with pytest.raises(Stopped):
        tuned(roads, work_dir / "stopped", *hooks, dict(type="mmsf.StopAfter", iterations=after), **settings)
    assert not (work_dir / "stopped" / "quantized.pth").exists()
    resumed = tuned(roads, work_dir / "stopped", *hooks, resume=True, **settings)
    assert resumed.train_loop.iter == ITERATIONS
    one, other = state(whole), state(resumed)
    assert list(one) == list(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    return whole, resumed
