"""`tools/benchmark.py speed`: what tuning costs, detector by detector, in plain float steps."""

import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mmsf.benchmark.grid import Detector
from mmsf.benchmark.speed_iteration import PRESETS, measure_iteration
from mmsf.benchmark.speed_memory import measure_memory
from mmsf.benchmark.speed_metric import measure_metric
from mmsf.benchmark.speed_rival import measure_rival
from mmsf.benchmark.speed_setup import BATCH, FRAMES, Setting, clock_of, write_frames
from mmsf.benchmark.speed_table import regressions, speed_table
from mmsf.engine.config import read_config, require_keys
from mmsf.errors import UserError
from mmsf.files import require_folder, whole_or_absent

PARTS = ("iteration", "memory", "rival", "metric")


def benchmark_speed(
    detectors: Sequence[Detector],
    out: str | Path,
    presets: Path,
    rounds: int,
    threads: int,
    parts: Sequence[str],
    say: Callable[[str], None],
) -> dict:
    """Measure, and write ``speed.json`` and ``speed.md``, anew after each detector.

    Args:
        detectors: The detectors.
        out: Where the tables go.
        presets: Folder of the presets.
        rounds: How often each variant runs.
        threads: Of PyTorch.
        parts: Of `PARTS`; the rival needs the iteration.
        say: Takes a line for the user.

    Returns:
        What ``speed.json`` holds.

    Raises:
        UserError: The rival alone was asked for, or a config is missing.
    """
    if "rival" in parts and "iteration" not in parts:
        raise UserError("the rival is compared with an iteration; give --parts iteration rival")
    for detector in detectors:
        require_keys(read_config(detector.config), "model")
    require_folder(out)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            setting = Setting(Path(temporary), presets.resolve(), rounds, threads)
            write_frames(setting)
            content = _measured_with(setting)
            # Stored after each: a full-size detector takes a quarter of an hour.
            for detector in detectors:
                content["detectors"][detector.name] = _measure(detector, parts, setting, say)
                _store(content, Path(out))
        if "metric" in parts:
            say("CULane's metric ...")
            content["metric"] = measure_metric()
            _store(content, Path(out))
    finally:
        torch.set_num_threads(before)
    say(f"{speed_table(content)}\nresults in {out}")
    return content


def _measured_with(setting: Setting) -> dict:
    """``speed.json`` before anything is measured."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "threads": setting.threads,
        "rounds": setting.rounds,
        "clock": clock_of(setting, device)[0],
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "batch": BATCH,
        "frames": FRAMES,
        "versions": {"torch": version("torch")},
        "detectors": {},
    }


def _store(content: dict, folder: Path) -> None:
    """Write ``speed.json`` and ``speed.md``."""
    with whole_or_absent(folder / "speed.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n")
    with whole_or_absent(folder / "speed.md") as path:
        path.write_text(speed_table(content))


def _measure(detector: Detector, parts: Sequence[str], setting: Setting, say: Callable[[str], None]) -> dict:
    found: dict = {}
    if "iteration" in parts:
        say(f"{detector.name}: iteration ...")
        found["iteration"] = measure_iteration(detector, setting)
    if "memory" in parts:
        say(f"{detector.name}: memory ...")
        found["memory"] = measure_memory(detector, PRESETS, setting)
    if "rival" in parts:
        say(f"{detector.name}: QDrop ...")
        found["rival"] = measure_rival(detector, found["iteration"], setting)
    return found


def read_speed(path: str | Path) -> dict:
    """A stored ``speed.json``.

    Raises:
        UserError: It cannot be read, or is another file.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("detectors"), dict):
        raise UserError(f"{path} is no table of tools/benchmark.py speed")
    return content


def compare_speed(content: dict, stored: dict, say: Callable[[str], None]) -> bool:
    """Tell of every ratio that is more than 20 % worse than in a stored table.

    Returns:
        Whether there is one.
    """
    worse = regressions(content, stored)
    for line in worse:
        say(f"slower than the stored table: {line}")
    if not worse:
        say("no ratio is more than 20 % worse than in the stored table")
    return bool(worse)
