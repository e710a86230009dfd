"""Two real processes over gloo do what one does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG, FLOAT_CONFIG, ROOT

from mmsf import safe_globals
from mmsf.engine.processes import start
from mmsf.errors import UserError

safe_globals.allow()

PROCESSES = 2
NAMES = ("curves.pth", "iter_2.pth", "iter_2.pth")  # before tuning, and in the midst of it
ITERATIONS = 3
# Ten frames in batches of four: three parts of a pass, the last one smaller, for two processes.
OPTIONS = [
    f"train_cfg.max_iters={ITERATIONS}",
    "train_cfg.cost_samples=0",
    "train_cfg.curves.frames=4",
    "train_cfg.curves.draws=2",
    "train_cfg.curves.levels=4",
    # The quickest ones that look at the whole histogram, and at weights.
    "train_cfg.activation_range.type=mmsf.PercentileRange",
    "train_cfg.weight_range.type=mmsf.MinMaxRange",
    "train_dataloader.batch_size=4",
    "default_hooks.checkpoint.interval=2",
    "custom_hooks.0.interval=2",
    "env_cfg.mp_cfg.opencv_num_threads=1",
]
METHODS = {
    # With plain gradient descent: Adam would hide a factor of the gradients, and make full steps of rounding noise.
    "selective-focus": (
        CONFIG,
        (),
        ["custom_hooks.1.overlays=1", "optim_wrapper.optimizer.type=SGD", "train_cfg.tuning_frames=20"],
    ),
    "best": (
        FLOAT_CONFIG,
        ("--preset", "best", "--bits", "w4a4"),
        ["custom_hooks.1.frames=4", "custom_hooks.1.interval=2", "custom_hooks.2.overlays=1", "train_cfg.tuning_frames=0"],
    ),
}


def started(
    processes: int, roads: Path, work_dir: Path, method: str, *more: str, options: list[str] = ()
) -> subprocess.Popen:
    """Start `tools/ptq.py`; results do not depend on how many threads a process would take by itself."""
    config, preset, own = METHODS[method]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [
        *(sys.executable, *(launch if processes > 1 else ()), ROOT / "tools" / "ptq.py", config, *preset, *more),
        *("--checkpoint", CHECKPOINT, "--work-dir", work_dir),
        *("--data-root", roads / "test", "--calibration-root", roads / "train"),
        *(("--launcher", "pytorch") if processes > 1 else ()),
        *("--cfg-options", *OPTIONS, *own, *options),
    ]
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([str(part) for part in command], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipe)


def ended(process: subprocess.Popen) -> str:
    """Standard error, when it has ended."""
    return process.communicate(timeout=600)[1]


@pytest.fixture(scope="module", params=list(METHODS))
def pair(request, roads, tmp_path_factory) -> tuple[Path, Path]:
    """Work directories of one process and of two."""
    folders = [tmp_path_factory.mktemp(f"{request.param}{processes}") for processes in (1, PROCESSES)]
    runs = [started(n, roads, folder, request.param) for n, folder in zip((1, PROCESSES), folders)]
    for run in runs:
        error = ended(run)
        assert run.returncode == 0, error
    return tuple(folders)


def read(folder: Path, name: str) -> dict:
    if name.endswith(".json"):
        return json.loads((folder / name).read_text())
    return torch.load(folder / name, map_location="cpu", weights_only=True)


def test_ranges_and_curves_have_the_same_bits(pair):
    for name in ("ranges.pth", "curves.pth"):
        one, two = (read(folder, name) for folder in pair)
        assert [key for key, value in one["state_dict"].items() if not torch.equal(value, two["state_dict"][key])] == []
        assert one["ptq"]["curves"] == two["ptq"]["curves"]
    assert len(one["ptq"]["curves"]) == 3
    units = [state["ptq"]["units"] for state in (one, two)]
    assert units[0]
    assert all(torch.equal(unit, units[1][name]) for name, unit in units[0].items())


def test_the_selection_is_the_same(pair):
    one, two = (read(folder, "sensitivity.json")["history"] for folder in pair)
    assert len(one) == 2
    assert one[0] == two[0]
    assert [(entry["iteration"], entry["selected"], entry["weights"]) for entry in one] == [
        (entry["iteration"], entry["selected"], entry["weights"]) for entry in two
    ]
    for entry, other in zip(one, two):
        assert other["losses"] == pytest.approx(entry["losses"], rel=1e-3)


def test_tuned_weights_differ_by_the_rounding_of_sums_alone(pair):
    start, one, two = (read(folder, name)["state_dict"] for folder, name in zip((*pair[:1], *pair), NAMES))
    adam = read(pair[0], "summary.json")["preset"] == "best"
    shares = []
    for name, value in one.items():
        # The gradient of a key's bias is 0, since softmax does not see it, but for rounding.
        if name.startswith("quantized.") and value.is_floating_point() and not name.endswith("k_proj.layer.bias"):
            step = (value - start[name]).abs().mean()
            rounding = 1e-6 * value.abs().mean()
            apart = (two[name] - value).abs().mean()
            assert apart <= (0.05 if adam else 1e-3) * step + rounding, name
            if step > 10 * rounding:
                shares.append(apart / step)
    assert len(shares) > 100
    assert sum(shares) / len(shares) < (2e-3 if adam else 1e-4)


def test_evaluation_is_the_same_and_written_once(pair):
    one, two = (read(folder, "summary.json") for folder in pair)
    assert (one["processes"], two["processes"]) == (1, PROCESSES)
    for key in ("float", "calibrated", "frames", "batch_size", "iterations", "bit_plan"):
        assert one[key] == two[key]
    assert set(one) == set(two)
    frames = [read(folder, "frames.json") for folder in pair]
    assert [found["frames"] for found in frames] == [frames[0]["frames"]] * 2
    assert frames[0]["calibrated"] == frames[1]["calibrated"]
    names = [{path.name for path in folder.iterdir() if path.is_file()} for folder in pair]
    assert names[0] == names[1]
    if "best_moment" in one:
        scores = [
            {entry["iteration"]: entry["distortion"] for entry in found["best_moment"]["scores"]} for found in (one, two)
        ]
        assert list(scores[0]) == list(scores[1]) == [0, 2, ITERATIONS]
        assert scores[0][0] == scores[1][0]


@pytest.mark.parametrize("pair", ["best"], indirect=True)
def test_a_resumed_run_of_two_ends_with_the_same_bits(pair, roads, tmp_path):
    for name in ("ranges.pth", "curves.pth", "iter_2.pth"):
        shutil.copy2(pair[1] / name, tmp_path)
    run = started(PROCESSES, roads, tmp_path, "best", "--resume")
    error = ended(run)
    assert run.returncode == 0, error
    one, two = (read(folder, "quantized.pth")["state_dict"] for folder in (pair[1], tmp_path))
    assert [key for key, value in one.items() if not torch.equal(value, two[key])] == []


def assert_told_once(error: str, message: str) -> None:
    told = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, error
    assert message in told[0]
    # What the launcher says of the processes; it may have stopped one of them.
    codes = set(re.findall(r"exitcode  : (-?\d+)", error))
    assert "2" in codes
    assert codes <= {"2", str(-signal.SIGTERM)}


def test_an_error_of_all_processes_is_told_once(roads, tmp_path):
    run = started(PROCESSES, roads, tmp_path, "selective-focus", options=["train_dataloader.batch_size=3"])
    error = ended(run)
    assert run.returncode != 0
    assert_told_once(error, "2 processes cannot share batches of 3 frames; set train_dataloader.batch_size to a multiple")


def test_work_is_shared_in_order_and_an_error_of_one_process_ends_all(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={PROCESSES}"]
    script = Path(__file__).with_name("shared_work.py")
    done = subprocess.run([*launch, str(script), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(PROCESSES)]
    assert told[0]["squares"] == told[1]["squares"] == [[number**2, number % 2] for number in range(5)]
    assert [found["first"] for found in told] == [0, 0]
    assert [found["part"] for found in told] == [[0, 1, 2], [3, 4, 5]]
    assert done.returncode != 0
    assert_told_once(done.stderr, "three is too much")


def test_a_launcher_that_is_not_there_is_told(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UserError, match=r"--launcher pytorch goes with python -m torch\.distributed\.run"):
        start(Config(), "pytorch")
