"""What every finished run tells: how it quantized, what it measured, and its worst frames."""

import json
import platform
import resource
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmsf.datasets.images import read_image
from mmsf.evaluation.agreement import FrameAgreement, compare_frames, summarize, total_damage
from mmsf.files import whole_or_absent
from mmsf.lanes.damage import damaged_points
from mmsf.lanes.rows import row_grid
from mmsf.version import __version__
from mmsf.visualization import Frame

STAGES = ("float", "calibrated", "quantized")
_PACKAGES = ("torch", "numpy", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "mmengine", "mmcv", "mmcv-lite", "mmdet")


def peak_memory_mb() -> float:
    """The largest that this process has been, megabytes."""
    # Kilobytes on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_summary(runner, method: str, preset: str | None, peaks: list[float]) -> dict:
    """The part of `summary.json` that does not depend on tuning.

    Args:
        runner: Its train loop is a `PTQLoop` that has run.
        method: Name of the method.
        preset: Name of the preset.
        peaks: Peak memory of each process, megabytes.
    """
    loop, network = runner.train_loop, runner.train_loop.model.quantized
    weight_bits, activation_bits = network.uniform_bits.as_list()
    return {
        "method": method,
        "preset": preset,
        "profile": network.profile.name,
        "scheme": network.settings.scheme,
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "bit_plan": {name: bits.as_list() for name, bits in network.bits.items()},
        "left_float": network.left_float,
        "mac_share": network.share_by_bits(),
        "calibration_labels": runner.train_loop.model.label_focus,
        "not_deployable": network.not_deployable,
        "mean_channel_bits": network.mean_channel_bits,
        **loop.stages,
        "agreement": {**agreement(loop.lanes, "quantized"), "calibrated": agreement(loop.lanes, "calibrated")},
        "frames": loop.frame_counts,
        "seconds": loop.seconds,
        "processes": len(peaks),
        # Of the largest process.
        "peak_memory_mb": max(peaks),
        "versions": _versions(),
    }


def compared(lanes: dict[str, dict], stage: str) -> dict[str, FrameAgreement]:
    """Image path -> agreement of a stage's lanes with the float model's; empty where either was not evaluated."""
    if "float" not in lanes or stage not in lanes:
        return {}
    found = {}
    for size in {frame["size"] for frame in lanes["float"].values()}:
        paths = [path for path, frame in lanes["float"].items() if frame["size"] == size]
        frames = ([lanes[s][path]["lines"] for path in paths] for s in ("float", stage))
        found.update(zip(paths, compare_frames(*frames, size)))
    return found


def agreement(lanes: dict[str, dict], stage: str) -> dict:
    """How the lanes of a stage agree with the float model's, and their damage; empty where either was not evaluated."""
    frames = list(compared(lanes, stage).values())
    return {**summarize(frames), "damage": total_damage(frames)} if frames else {}


def worst_frames(lanes: dict[str, dict], count: int) -> Iterator[Frame]:
    """The frames in which the last stage agrees least with the float model, drawn one at a time."""
    stages = [stage for stage in STAGES if stage in lanes]
    by_stage = {stage: compared(lanes, stage) for stage in stages}
    last = by_stage[stages[-1]]
    for path in sorted(last, key=lambda path: -last[path].distortion)[:count]:
        image = read_image(path)
        seen = {stage: lanes[stage][path]["lines"] for stage in stages}
        rows = row_grid(image.shape[0])
        captions = {stage: _caption(seen[stage], by_stage[stage][path].distortion) for stage in stages[1:]}
        marks = {stage: damaged_points(seen["float"], seen[stage], rows) for stage in stages[1:]}
        if "labels" in lanes["float"][path]:
            seen["ground truth"] = lanes["float"][path]["labels"]
        yield Frame(lanes["float"][path]["name"], image, seen, captions, marks)


def _caption(lanes: list, distortion: float) -> str:
    return f"{len(lanes)} lane{'' if len(lanes) == 1 else 's'}, distortion {distortion:.1f}"


def write_json(path: Path, content: dict, indent: int | None = 1) -> None:
    """Write JSON, whole or not at all."""
    with whole_or_absent(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n")


def _versions() -> dict[str, str]:
    found = {"mmsf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "torch": torch.__version__}
