"""Peak memory of a tuning iteration and of a plain float training step, each in a process of its own."""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

import mmsf  # noqa: F401  the processes start here
from mmsf.benchmark.grid import Detector
from mmsf.benchmark.speed_setup import BATCH, Setting, squares, started
from mmsf.engine.config import read_config
from mmsf.heap import keep_freed_memory
from mmsf.registry import MODELS

ITERATIONS = 3


def measure_memory(detector: Detector, presets: tuple[str, ...], setting: Setting) -> dict:
    """Megabytes of the float step ("float_mb") and of tuning by preset ("tuning_mb"), and their ratios.

    Each is above what the process held before its model was built. In tuning it counts the float original beside the
    quantized copy, `FRAMES` calibration frames and their kept outputs.
    """
    plain = _in_process(detector, None, setting)
    tuning = {preset: _in_process(detector, preset, setting) for preset in presets}
    return {"float_mb": plain, "tuning_mb": tuning, "ratio": {preset: mb / plain for preset, mb in tuning.items()}}


def _in_process(detector: Detector, preset: str | None, setting: Setting) -> float:
    task = dict(detector=asdict(detector), preset=preset, setting={k: str(v) for k, v in asdict(setting).items()})
    command = [sys.executable, "-m", "mmsf.benchmark.speed_memory", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {detector.name} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def peak_of(build: Callable[[], Callable[[], object]]) -> float:
    """Megabytes that some calls of what ``build`` returns need at most, with what it built.

    On a processor the kernel's own peak of the process (``VmHWM``), less what was resident before ``build``.
    """
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        step = build()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(ITERATIONS):
            step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = _resident("VmRSS")
    step = build()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what building has freed
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for _ in range(ITERATIONS):
        step()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 2**10


def float_training(detector: Detector) -> Callable[[], object]:
    """Forward, backward and Adam's step of the float network in training mode, batch norms included."""
    cfg = read_config(detector.config)
    model = MODELS.build(cfg.model).to("cuda" if torch.cuda.is_available() else "cpu").train()
    model.bfloat16_backbone = False
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    images = torch.randn(BATCH, 3, *cfg.input_size, device=next(model.parameters()).device)

    def step() -> None:
        optimizer.zero_grad()
        squares(model(images, mode="tensor")).backward()
        optimizer.step()

    return step


def tuning(detector: Detector, preset: str, setting: Setting) -> Callable[[], object]:
    """The preset's iteration."""
    runner, loop = started(detector, preset, setting)
    loop.estimate_ranges()
    loop.keep_float_outputs()
    loop.measure_curves()
    numbers = iter(range(ITERATIONS))
    return lambda: runner.model.train_step(loop.frames.tuning_batch(next(numbers), 0), optim_wrapper=runner.optim_wrapper)


def main() -> None:
    """Measure what the command line's JSON says, and print it."""
    task = json.loads(sys.argv[1])
    detector, preset, own = Detector(**task["detector"]), task["preset"], task["setting"]
    setting = Setting(Path(own["work_dir"]), Path(own["presets"]), int(own["rounds"]), int(own["threads"]))
    torch.set_num_threads(setting.threads)
    keep_freed_memory()  # as the tools do
    build = (lambda: float_training(detector)) if preset is None else (lambda: tuning(detector, preset, setting))
    megabytes = peak_of(build)
    print(f"\n{megabytes}")


if __name__ == "__main__":
    main()
