"""Calibrates a narrow RESA at full size, and prints what it took: ``measured_memory.py ROADS WORK_DIR MEMORY_MB``."""

import ctypes
import gc
import hashlib
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.hooks import Hook
from originals import ROOT
from small_segmentation import SMALL, small

from mmsf.engine.ptq import quantize
from mmsf.registry import HOOKS

SIZE = (288, 800)


def anonymous_mb() -> float:
    """Resident memory of this process without that of files, megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Watch(threading.Thread):
    """Looks at the memory every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.peak = max(self.peak, anonymous_mb())


@HOOKS.register_module()
class BeforeTuning(Hook):
    """Notes what the process has taken until tuning begins, and what it takes then."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.watch.start()

    def before_train_epoch(self, runner) -> None:
        self.watch.done.set()
        self.watch.join()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self.kept = anonymous_mb()


def main() -> None:
    roads, work_dir, memory_mb = sys.argv[1:]
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    weights = Path(work_dir) / "float.pth"
    model = small("resa", input_size=SIZE)
    torch.save({"state_dict": model.state_dict()}, weights)
    given = {
        f"model.detector.{key}": value for key, value in {**SMALL, "input_size": SIZE, "adapter.input_size": SIZE}.items()
    }
    given |= {
        "model.input_size": SIZE,
        "train_dataloader.dataset.pipeline.0.scale": SIZE[::-1],
        "train_dataloader.batch_size": 2,
        **dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator")),
        "train_cfg.max_iters": 1,
        "train_cfg.cost_samples": 0,
        "train_cfg.curves": dict(levels=2, span=(0.1, 10.0), frames=4, draws=1),
        "train_cfg.weight_range.type": "mmsf.MinMaxRange",
        "train_cfg.activation_range.type": "mmsf.MinMaxRange",
        "train_cfg.memory_mb": float(memory_mb),
        "custom_hooks": [dict(type="BeforeTuning"), dict(type="mmsf.ResultHook", method="m", preset="p", overlays=0)],
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    runner = quantize(
        ROOT / "configs" / "ptq" / "resa_r18_culane_w8a8_selective-focus.py",
        checkpoint=str(weights),
        data_root=str(Path(roads) / "test"),
        calibration_root=[str(Path(roads) / "train")],
        work_dir=work_dir,
        options=given,
    )
    loop, noted = runner.train_loop, next(hook for hook in runner.hooks if isinstance(hook, BeforeTuning))
    digest = hashlib.sha256()
    for value in loop.model.state_dict().values():
        digest.update(value.numpy().tobytes())
    found = dict(
        frames=len(loop.frames),
        peak_mb=noted.watch.peak,
        kept_mb=noted.kept,
        held_mb=loop.memory.held / 2**20,
        spilled_mb=loop.memory.spilled / 2**20,
        types={name: str(tensor.dtype) for name, tensor in loop.model.kept_outputs.items()},
        digest=digest.hexdigest(),
        curves={name: curve.as_dict() for name, curve in loop.curves.items()},
    )
    print("FOUND", json.dumps(found))


if __name__ == "__main__":
    main()
