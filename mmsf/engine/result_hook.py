"""What a finished run leaves: quantized.pth, summary.json, frames.json, sensitivity.json, overlays, report.html."""

import json
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmsf.datasets.images import read_image
from mmsf.engine.quantized_file import write_quantized
from mmsf.evaluation.agreement import FrameAgreement, compare_frames, summarize
from mmsf.files import whole_or_absent
from mmsf.registry import HOOKS
from mmsf.version import __version__
from mmsf.visualization import Frame, results_table, write_overlays, write_report

_PACKAGES = ("torch", "numpy", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "mmengine", "mmcv", "mmcv-lite", "mmdet")


@HOOKS.register_module()
class ResultHook(Hook):
    """Writes the results of a `PTQLoop` into the work directory when it has ended.

    Args:
        method: Name of the method, for the summary.
        preset: Name of the preset, for the summary.
        overlays: Evaluation frames to draw: those where the quantized model agrees least with the float one.
    """

    priority = "LOW"

    def __init__(self, method: str, preset: str, overlays: int = 6) -> None:
        self.method, self.preset, self.overlays = method, preset, overlays

    @master_only
    def after_train(self, runner) -> None:
        """Write everything; print the table."""
        folder = Path(runner.work_dir)
        write_quantized(folder / "quantized.pth", runner.train_loop.model, runner.cfg)
        summary, sensitivity = self.summary(runner), self.sensitivity(runner)
        _write_json(folder / "summary.json", summary)
        _write_json(folder / "sensitivity.json", sensitivity)
        if runner.train_loop.frame_scores:
            _write_json(folder / "frames.json", self.frames(runner), indent=None)
        pictures = write_overlays(folder / "overlays", self._frames(runner)) if runner.train_loop.lanes else []
        write_report(folder / "report.html", summary, sensitivity, pictures)
        runner.logger.info(f"results in {folder}\n{results_table(summary)}")

    def summary(self, runner) -> dict:
        """`summary.json`."""
        loop, network = runner.train_loop, runner.train_loop.model.quantized
        uniform = network.uniform_bits
        history = self._history(runner)
        selected = [set(entry["selected"]) for entry in history]
        summary = {
            "method": self.method,
            "preset": self.preset,
            "profile": network.profile.name,
            "scheme": network.settings.scheme,
            "weight_bits": uniform.as_list()[0],
            "activation_bits": uniform.as_list()[1],
            "bit_plan": {name: bits.as_list() for name, bits in network.bits.items()},
            "left_float": network.left_float,
            "mac_share": network.share_by_bits(),
            **loop.stages,
            "agreement": {
                **summarize(self._comparison(loop.lanes, "quantized").values()),
                "calibrated": summarize(self._comparison(loop.lanes, "calibrated").values()),
            },
            "heads": {
                name: {
                    "loss_before": loop.errors["before"][name],
                    "loss_after": after,
                    "sensitivity": loop.curves[name](after),
                    "selected_share": sum(name in s for s in selected) / len(selected) if selected else None,
                }
                # A run without tuning measures no head.
                for name, after in loop.errors.get("after", {}).items()
            },
            "frames": {
                "calibration": len(loop.frames),
                "evaluation": 0 if runner.val_loop is None else len(runner.val_loop.dataloader.dataset),
            },
            "iterations": loop.iter,
            "batch_size": loop.batch_size,
            "sample_passes": loop.sample_passes,
            "seconds": loop.seconds,
            "iteration_cost_ratio": loop.cost.ratio,
            # Kilobytes on Linux; the largest the process has been.
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "versions": _versions(),
        }
        return summary

    @staticmethod
    def _comparison(lanes: dict[str, dict], stage: str) -> dict[str, FrameAgreement]:
        """Image path -> agreement of a stage's lanes with the float model's."""
        if "float" not in lanes or stage not in lanes:
            return {}
        compared = {}
        for size in {frame["size"] for frame in lanes["float"].values()}:
            paths = [path for path, frame in lanes["float"].items() if frame["size"] == size]
            frames = ([lanes[s][path]["lines"] for path in paths] for s in ("float", stage))
            compared.update(zip(paths, compare_frames(*frames, size)))
        return compared

    def sensitivity(self, runner) -> dict:
        """`sensitivity.json`."""
        curves = {name: curve.as_dict() for name, curve in runner.train_loop.curves.items()}
        planner = runner.train_loop.bit_planner
        layers = {} if planner is None else planner.scores
        return {"curves": curves, "history": self._history(runner), "layers": layers}

    def frames(self, runner) -> dict:
        """`frames.json`: what every evaluation frame counts, in the order of ``columns``, by stage."""
        scores = runner.train_loop.frame_scores
        first = next(iter(scores.values()))
        by_stage = {stage: found["scores"] for stage, found in scores.items()}
        return {"columns": first["columns"], "frames": first["frames"], **by_stage}

    @staticmethod
    def _history(runner) -> list[dict]:
        return next((hook.history for hook in runner.hooks if hasattr(hook, "history")), [])

    def _frames(self, runner):
        """The frames with the least agreement, drawn one at a time."""
        lanes = runner.train_loop.lanes
        stages = [stage for stage in ("float", "calibrated", "quantized") if stage in lanes]
        comparison = self._comparison(lanes, stages[-1])
        worst = sorted(comparison, key=lambda path: -comparison[path].distortion)
        for path in worst[: self.overlays]:
            yield Frame(Path(path).name, read_image(path), {stage: lanes[stage][path]["lines"] for stage in stages})


def _write_json(path: Path, content: dict, indent: int | None = 1) -> None:
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
