"""What a finished run leaves: quantized.pth, summary.json, frames.json, sensitivity.json, overlays, report.html."""

from itertools import pairwise
from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook

from mmsf.engine.best_moment_hook import BestMomentHook
from mmsf.engine.quantized_file import write_quantized
from mmsf.engine.results import peak_memory_mb, run_summary, worst_frames, write_json
from mmsf.errors import require_whole
from mmsf.registry import HOOKS
from mmsf.sensitivity.curves import as_dicts, score_by_both
from mmsf.visualization import results_table, write_overlays, write_report


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
        require_whole("ResultHook", "overlays", overlays, 0)
        self.method, self.preset, self.overlays = method, preset, overlays

    def after_train(self, runner) -> None:
        """Write everything, and print the table, in the first process."""
        peaks = all_gather_object(peak_memory_mb())
        if is_main_process():
            self.write(runner, peaks)

    def write(self, runner, peaks: list[float]) -> None:
        """Write everything; print the table.

        Args:
            runner: The runner.
            peaks: Peak memory of each process, megabytes.
        """
        folder = Path(runner.work_dir)
        write_quantized(folder / "quantized.pth", runner.train_loop.model, runner.cfg)
        summary, sensitivity = self.summary(runner, peaks), self.sensitivity(runner)
        write_json(folder / "summary.json", summary)
        write_json(folder / "sensitivity.json", sensitivity)
        if runner.train_loop.frame_scores:
            write_json(folder / "frames.json", self.frames(runner), indent=None)
        lanes = runner.train_loop.lanes
        pictures = write_overlays(folder / "overlays", worst_frames(lanes, self.overlays) if lanes else [])
        write_report(folder / "report.html", summary, sensitivity, pictures)
        runner.logger.info(f"results in {folder}\n{results_table(summary)}")

    def summary(self, runner, peaks: list[float]) -> dict:
        """`summary.json`."""
        loop = runner.train_loop
        return {
            **run_summary(runner, self.method, self.preset, peaks),
            "heads": {
                name: {
                    "loss_before": loop.errors["before"][name],
                    "loss_after": after,
                    "sensitivity": score_by_both(after, loop.curves[name], loop.last_curves.get(name)),
                    "selected_share": self._selected_share(runner, name),
                }
                # A run without tuning measures no head.
                for name, after in loop.errors.get("after", {}).items()
            },
            "iterations": loop.iter,
            "batch_size": loop.batch_size,
            "sample_passes": loop.sample_passes,
            "iteration_cost_ratio": loop.cost.ratio,
            **self._best_moment(runner),
        }

    def sensitivity(self, runner) -> dict:
        """`sensitivity.json`."""
        loop = runner.train_loop
        return {
            "curves": as_dicts(loop.curves),
            "last_curves": as_dicts(loop.last_curves),
            "history": self._history(runner),
            "iterations": loop.iter,
            "layers": {} if loop.bit_planner is None else loop.bit_planner.scores,
        }

    def frames(self, runner) -> dict:
        """`frames.json`: what every evaluation frame counts, in the order of ``columns``, by stage."""
        scores = runner.train_loop.frame_scores
        first = next(iter(scores.values()))
        by_stage = {stage: found["scores"] for stage, found in scores.items()}
        return {"columns": first["columns"], "frames": first["frames"], **by_stage}

    @staticmethod
    def _best_moment(runner) -> dict:
        told = [hook.summary() for hook in runner.hooks if isinstance(hook, BestMomentHook)]
        return {"best_moment": told[0]} if told else {}

    def _selected_share(self, runner, name: str) -> float | None:
        """Share of the iterations in which a head was selected; None where nothing was."""
        history = self._history(runner)
        begins = [*(entry["iteration"] for entry in history), runner.train_loop.iter]
        held = [end - begin for begin, end in pairwise(begins)]
        chosen = sum(count for entry, count in zip(history, held) if name in entry["selected"])
        return chosen / sum(held) if sum(held) else None

    @staticmethod
    def _history(runner) -> list[dict]:
        return next((hook.history for hook in runner.hooks if hasattr(hook, "history")), [])
