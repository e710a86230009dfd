"""How far a quantized model's lanes agree with the float model's. Needs no labels."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmsf.errors import UserError
from mmsf.evaluation.culane_score import CHUNK, LaneCounts, count_frames, total
from mmsf.evaluation.samples import by_image_size, lines_of
from mmsf.lanes.damage import Damage, lane_damage
from mmsf.lanes.distortion import DistortionRule, lane_distortion
from mmsf.lanes.lane import Lane
from mmsf.lanes.rows import frames_to_rows, row_grid
from mmsf.registry import METRICS


@dataclass(frozen=True)
class FrameAgreement:
    """One frame.

    Attributes:
        counts: By CULane's rule, the float lanes taking the place of the labels.
        distortion: Lane Distortion Score.
        shift: Sum of the distances of matched points, pixels of the original image.
        points: Pairs of matched points.
        damage: Bends, spikes and misalignments, by the names of `Damage`.
        float_lanes: Lanes of the float model.
        float_points: Their points on the rows that are compared.
    """

    counts: LaneCounts
    distortion: float
    shift: float
    points: int
    damage: dict[str, int]
    float_lanes: int
    float_points: int


def compare_frames(
    reference: Sequence[Sequence[Lane | np.ndarray]],
    quantized: Sequence[Sequence[Lane | np.ndarray]],
    size: tuple[int, int],
    width: int = 30,
    iou_threshold: float = 0.5,
    row_step: float = 20.0,
    rule: DistortionRule | None = None,
) -> list[FrameAgreement]:
    """Compare the lanes of F frames of one size.

    Args:
        reference: The float model's lanes of each frame, pixels of the original image.
        quantized: The quantized model's.
        size: Height and width of the original images, pixels.
        width: Thickness of the lanes when their IoU is taken, pixels.
        iou_threshold: Least IoU of lanes that agree, exclusive.
        row_step: Distance of the rows on which points are compared, pixels.
        rule: The choices of the Lane Distortion Score; None for the defaults.
    """
    if len(reference) > CHUNK:
        parts = [slice(begin, begin + CHUNK) for begin in range(0, len(reference), CHUNK)]
        settings = (size, width, iou_threshold, row_step, rule)
        return [frame for part in parts for frame in compare_frames(reference[part], quantized[part], *settings)]
    plain = [[[getattr(lane, "points", lane) for lane in frame] for frame in frames] for frames in (reference, quantized)]
    counts = count_frames(*plain, size, width, iou_threshold)
    rows = row_grid(size[0], row_step)
    on_rows = [frames_to_rows(frames, rows) for frames in plain]
    distortion = lane_distortion(*on_rows, rows, rule)
    damage = _by_frame(lane_damage(*on_rows, rows, rule=rule))
    points = np.isfinite(on_rows[0]).sum((1, 2))
    figures = [values.tolist() for values in (distortion.score, distortion.shift, distortion.matched_points)]
    lanes = [len(frame) for frame in plain[0]]
    return [FrameAgreement(*frame) for frame in zip(counts, *figures, damage, lanes, points.tolist())]


def _by_frame(damage: Damage) -> list[dict[str, int]]:
    counts = asdict(damage)
    return [dict(zip(counts, frame)) for frame in zip(*(values.tolist() for values in counts.values()))]


def summarize(frames: Iterable[FrameAgreement]) -> dict[str, float]:
    """Figures over all frames.

    Returns:
        ``f1`` of the counts' sum, 1 if neither model finds a lane in any frame; ``mean_distortion``, the mean Lane
        Distortion Score of a frame; ``mean_shift``, the mean distance of matched points, pixels, 0 without any.
    """
    frames = list(frames)
    counts = total(frame.counts for frame in frames)
    points = sum(frame.points for frame in frames)
    return {
        "f1": counts.f1 if counts != LaneCounts() else 1.0,
        "mean_distortion": sum(frame.distortion for frame in frames) / max(len(frames), 1),
        "mean_shift": sum(frame.shift for frame in frames) / max(points, 1),
    }


def total_damage(frames: Iterable[FrameAgreement]) -> dict[str, int]:
    """Bends, spikes and misalignments over all frames; empty without any frame.

    Returns:
        Counts by the names of `Damage`; and ``float_lanes`` and ``float_points``, how much there was to damage.
    """
    frames = list(frames)
    damage = {name: sum(frame.damage[name] for frame in frames) for name in (frames[0].damage if frames else ())}
    totals = {name: sum(getattr(frame, name) for frame in frames) for name in ("float_lanes", "float_points")}
    return {**damage, **totals} if frames else {}


def _reach(frames: Iterable[Sequence[Lane | np.ndarray]]) -> tuple[int, int]:
    """Height and width of the smallest image that holds all points, pixels."""
    lanes = [getattr(lane, "points", lane) for lanes in frames for lane in lanes]
    points = np.concatenate([np.reshape(lane, (-1, 2)) for lane in lanes] or [np.zeros((0, 2))])
    right, bottom = np.ceil(points.max(0, initial=0.0)).astype(int) + 1
    return int(bottom), int(right)


def agreement(
    reference: Sequence[Sequence[Lane | np.ndarray]],
    quantized: Sequence[Sequence[Lane | np.ndarray]],
    sizes: Sequence[tuple[int, int]] | None = None,
    **options: Any,
) -> dict[str, float]:
    """Agreement of the lanes of F frames, of any sizes.

    Args:
        reference: The float model's lanes of each frame, pixels of the original image.
        quantized: The quantized model's.
        sizes: Height and width of each original image, pixels; None for an image that just holds all the lanes.
        **options: See `compare_frames`.

    Returns:
        See `summarize`.
    """
    if sizes is None:
        sizes = [_reach([*reference, *quantized])] * len(reference)
    frames: list[FrameAgreement] = []
    for size in dict.fromkeys(map(tuple, sizes)):
        chosen = [index for index, other in enumerate(sizes) if tuple(other) == size]
        pairs = ([frames_[index] for index in chosen] for frames_ in (reference, quantized))
        frames += compare_frames(*pairs, size, **options)
    return summarize(frames)


@METRICS.register_module()
class LaneAgreement(BaseMetric):
    """Agreement of a quantized model's lanes with the float model's; needs no labels.

    Keys: ``agreement/F1``, by CULane's rule with the float lanes as labels; ``agreement/mean_distortion``, the mean Lane
    Distortion Score of a frame; ``agreement/mean_shift``, the mean distance of matched points, pixels of the original image.

    A sample has ``float_instances.lines`` and ``pred_instances.lines``, lists of (P, 2) in pixels of the original image, and
    ``ori_shape``. What mmsf's loops give it, ``compared_instances``, goes before the latter: it has the float lanes' form.

    Args:
        iou_threshold: Least IoU of lanes that agree, exclusive.
        width: Thickness of the lanes when their IoU is taken, pixels of the original image.
        row_step: Distance of the rows on which points are compared, pixels of the original image.
        rule: Keyword arguments of `DistortionRule`.
        collect_device: Where the results of several processes are gathered, "cpu" or "gpu".
        prefix: First part of the keys in place of "agreement".
    """

    default_prefix = "agreement"

    def __init__(
        self,
        iou_threshold: float = 0.5,
        width: int = 30,
        row_step: float = 20.0,
        rule: dict | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.options = {
            "iou_threshold": iou_threshold,
            "width": width,
            "row_step": row_step,
            "rule": DistortionRule(**(rule or {})),
        }

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare a batch.

        Raises:
            UserError: A sample has no lanes of the float model.
        """
        frames: list[FrameAgreement | None] = [None] * len(data_samples)
        for size, indices in by_image_size(data_samples).items():
            samples = [data_samples[i] for i in indices]
            floating = [lines_of(s, "float_instances") for s in samples]
            own = [lines_of(s, "compared_instances" if "compared_instances" in s else "pred_instances") for s in samples]
            for index, frame in zip(indices, compare_frames(floating, own, size, **self.options)):
                frames[index] = frame
        self.results += frames

    def compute_metrics(self, results: list[FrameAgreement]) -> dict[str, float]:
        """Figures over all frames."""
        if not results:
            raise UserError("LaneAgreement got no frame; check the evaluation dataset")
        figures = summarize(results)
        return {"F1": figures.pop("f1"), **figures}
