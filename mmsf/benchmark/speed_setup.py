"""What speed is measured with: frames, weights, a run that stands before its first iteration, and a clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor

import mmsf.datasets.synthetic as synthetic
from mmsf.benchmark.grid import Detector
from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.config import read_config
from mmsf.engine.loop import PTQLoop
from mmsf.engine.ptq import ptq_config
from mmsf.files import whole_or_absent
from mmsf.registry import MODELS

FRAMES = 32
"""Synthetic frames that stand in for the calibration frames; what grows with their number is scaled."""

DEFAULT_FRAMES = 512
BATCH = 8
SEED = 20260101  # of the frames; of no split
NO_EVALUATION = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None, "log_level": "ERROR"}


@dataclass(frozen=True)
class Setting:
    """Where and how speed is measured.

    Attributes:
        work_dir: Where frames, weights and runs go.
        presets: Folder of the presets.
        rounds: How often each variant runs.
        threads: Of PyTorch.
    """

    work_dir: Path
    presets: Path
    rounds: int
    threads: int

    @property
    def frames(self) -> Path:
        """Folder of the frames."""
        return self.work_dir / "frames"


def write_frames(setting: Setting) -> None:
    """Draw the frames that are not there yet."""
    synthetic.write_dataset(setting.frames, FRAMES, SEED)


def weights_of(detector: Detector, setting: Setting) -> Path:
    """The detector's trained weights; where there are none, random ones, with which an iteration costs the same."""
    if detector.checkpoint is not None and Path(detector.checkpoint).is_file():
        return Path(detector.checkpoint)
    path = setting.work_dir / f"{detector.name}_random.pth"
    if not path.exists():
        torch.manual_seed(0)
        model = MODELS.build(read_config(detector.config).model)
        with whole_or_absent(path) as temporary:
            torch.save({"state_dict": model.state_dict()}, temporary)
    return path


def started(detector: Detector, preset: str, setting: Setting, **options: Any) -> tuple[Runner, PTQLoop]:
    """A W4A4 run of a preset whose frames are loaded; nothing is estimated yet.

    Args:
        detector: The detector.
        preset: Name of the preset.
        setting: Where and how.
        **options: On top of the preset: dotted key, with ``__`` for the dot -> value.
    """
    cfg = ptq_config(
        detector.config,
        preset=preset,
        bits="w4a4",
        presets=setting.presets,
        checkpoint=str(weights_of(detector, setting)),
        calibration_root=[str(setting.frames)],
        options={
            "train_dataloader.dataset.count": FRAMES,
            "train_dataloader.dataset.datasets": [],
            "train_dataloader.dataset.exclude": [],
            "train_dataloader.batch_size": BATCH,
            **NO_EVALUATION,
            **{name.replace("__", "."): value for name, value in options.items()},
        },
    )
    cfg.work_dir = str(setting.work_dir / "runs" / detector.name / preset)
    runner = Runner.from_cfg(cfg)
    loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train()
    loop.frames = CalibrationFrames.collect(loop.dataloader, loop.memory)
    return runner, loop


def clock_of(setting: Setting, device: torch.device) -> tuple[str, Callable[[], float]]:
    """Name and seconds of the clock that other load on the machine moves least.

    On one thread of a processor that is the process' own time; threads wait for one another, and a GPU is waited for.
    """
    if device.type == "cuda":
        return "wall time, after the GPU is done", lambda: (torch.cuda.synchronize(), time.perf_counter())[1]
    return ("processor time", time.process_time) if setting.threads == 1 else ("wall time", time.perf_counter)


def interleaved(
    variants: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each variant, ``rounds`` times over; in a round each runs once, and a first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            begun = clock()
            run()
            if number:
                seconds[name].append(clock() - begun)
    return seconds


def ratio(one: list[float], other: list[float]) -> float:
    """Median over rounds of the ratio of two variants' times in the same round."""
    return median(a / b for a, b in zip(one, other))


def squares(raw: dict[str, Tensor]) -> Tensor:
    """A scalar of raw outputs, as `mmsf.engine.cost.float_step` makes it: what a plain backward pass starts from."""
    return sum(tensor.square().mean() for tensor in raw.values() if tensor.is_floating_point())
