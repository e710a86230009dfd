"""What a sensitivity analysis leaves: summary.json, sensitivity.json, bit_plan.json, figures, overlays, report.html."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmsf.datasets.images import read_image
from mmsf.engine.results import peak_memory_mb, run_summary, worst_frames, write_json
from mmsf.engine.sensitivity_loop import HeadForeground
from mmsf.errors import require_whole
from mmsf.registry import HOOKS
from mmsf.sensitivity.curves import as_dicts
from mmsf.sensitivity.foreground import FOREGROUND
from mmsf.visualization import (
    figures,
    foreground_figure,
    next_step,
    results_table,
    short_name,
    write_figure,
    write_overlays,
    write_report,
)


@HOOKS.register_module()
class AnalysisHook(Hook):
    """Writes the results of a `SensitivityLoop` into the work directory when it has ended.

    Args:
        preset: Name of the preset, for the summary.
        overlays: Evaluation frames to draw: those where the calibrated model agrees least with the float one.
    """

    priority = "LOW"

    def __init__(self, preset: str | None = None, overlays: int = 6) -> None:
        require_whole("AnalysisHook", "overlays", overlays, 0)
        self.preset, self.overlays = preset, overlays

    @master_only
    def after_train(self, runner) -> None:
        """Write everything; print the table and what to do next."""
        folder, loop = Path(runner.work_dir), runner.train_loop
        summary, sensitivity = self.summary(runner), self.sensitivity(runner)
        # Not every analysis has them, and those of an earlier one in this folder would be taken for its own.
        for earlier in (folder / "bit_plan.json", *(folder / "figures").glob("foreground_*.png")):
            earlier.unlink(missing_ok=True)
        write_json(folder / "summary.json", summary)
        write_json(folder / "sensitivity.json", sensitivity)
        if loop.plan:
            write_json(folder / "bit_plan.json", dict.fromkeys(loop.plan["layers"], loop.plan["bits"]))
        for name, figure in figures(sensitivity).items():
            write_figure(folder / "figures" / f"{name}.png", figure)
        places = [place for place in loop.foreground if place.map.scores.size > 1]
        maps = [_foreground(folder / "figures", number, place) for number, place in enumerate(places)]
        pictures = write_overlays(folder / "overlays", worst_frames(loop.lanes, self.overlays) if loop.lanes else [])
        write_report(folder / "report.html", summary, sensitivity, pictures, maps)
        advice = next_step(summary, sensitivity)
        runner.logger.info(f"results in {folder}\n{results_table(summary)}" + (f"\n{advice}" if advice else ""))

    def summary(self, runner) -> dict:
        """`summary.json`; nothing was tuned, so what concerns tuning is absent."""
        loop = runner.train_loop
        heads = {
            name: {"loss_before": loss, "sensitivity": loop.curves[name](loss)}
            for name, loss in loop.errors["before"].items()
        }
        return {**run_summary(runner, "sensitivity analysis", self.preset, [peak_memory_mb()]), "heads": heads}

    @staticmethod
    def sensitivity(runner) -> dict:
        """`sensitivity.json`."""
        loop, network = runner.train_loop, runner.train_loop.model.quantized
        bits = {name: "/".join(map(str, bits.as_list())) for name, bits in network.bits.items()}
        total = sum(network.multiply_accumulates.values())
        ranked = sorted(loop.layer_scores.items(), key=lambda item: -item[1])
        return {
            "curves": as_dicts(loop.curves),
            "history": [],
            "present": {
                "losses": loop.errors["before"],
                "scores": {name: loop.curves[name](loss) for name, loss in loop.errors["before"].items()},
            },
            "algorithm1": loop.algorithm1,
            "confidences": loop.confidences,
            "all_heads": loop.all_heads,
            "sees_lanes": loop.sees_lanes,
            "layers": {name: {bits[name]: score} for name, score in ranked},
            "layer_shares": {name: network.multiply_accumulates[name] / total for name, _ in ranked},
            "more_bits": loop.plan,
            "foreground": [_plain(place) for place in loop.foreground],
        }


def _foreground(folder: Path, number: int, place: HeadForeground) -> tuple[str, Path]:
    """Draw a map; its title and file, as the report takes them. The number tells frames of one name apart."""
    side, spatial = place.map.block, place.map.scores.ndim > 1
    what = ("candidates", "cells")[spatial]
    unit = f"one of the {what}" if side == 1 else f"{f'{side} x {side}' if spatial else side} of the {what}"
    title = f"Head {place.head}: noise on {unit} at a time, {place.name}"
    path = folder / f"foreground_{number:02d}_{short_name(f'{Path(place.path).stem}_{place.head}')}.png"
    figure = foreground_figure(
        read_image(place.path),
        place.map.scores,
        place.map.confidence,
        title,
        place.map.places,
        block=side,
        seen_from=place.seen_from,
        lanes=place.lanes,
        candidates=place.candidates,
    )
    write_figure(path, figure)
    blocks, distortion = place.map.foreground_share
    noise = ", ".join(f"{size:.3g}" for size in place.noise[:8]) + (", ..." if len(place.noise) > 8 else "")
    caption = (
        f"{place.name}, head {place.head}: {100 * distortion:.0f} % of the distortion comes from the {100 * blocks:.0f} % "
        f"of blocks whose confidence is at least {FOREGROUND:g}. Size of the noise by channel: {noise}."
    )
    return caption, path


def _plain(place: HeadForeground) -> dict:
    blocks, distortion = place.map.foreground_share
    return {
        "image": place.path,
        "head": place.head,
        "noise": place.noise,
        "places": list(place.map.places),
        "block": place.map.block,
        "scores": place.map.scores.tolist(),
        "confidence": place.map.confidence.tolist(),
        "foreground_blocks": blocks,
        "foreground_distortion": distortion,
    }
