"""CULane's F1 as a metric of MMEngine."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from mmsf.errors import UserError
from mmsf.evaluation.culane_score import LaneCounts, count_frames, total
from mmsf.evaluation.samples import by_image_size, frame_name, lines_of
from mmsf.registry import METRICS


@METRICS.register_module()
class CULaneMetric(BaseMetric):
    """Precision, recall and F1 of lanes, count for count as CULane's official evaluator.

    Keys: ``CULane/F1``, ``/precision``, ``/recall``, ``/tp``, ``/fp``, ``/fn`` over all frames; the same as
    ``CULane/<category>/...`` for each category that samples name in their metainfo, but only ``CULane/cross/fp`` for
    "cross", whose frames have no labelled lane. Ratios without a denominator are -1, see `LaneCounts`.

    A sample has ``gt_instances.lines`` and ``pred_instances.lines``, lists of (P, 2) in pixels of the original image, and
    ``ori_shape``, which is the canvas on which lanes are drawn.

    Args:
        iou_threshold: Least IoU of a true positive, exclusive.
        width: Thickness of the drawn lanes, pixels of the original image.
        collect_device: Where the results of several processes are gathered, "cpu" or "gpu".
        prefix: First part of the keys in place of "CULane".

    Attributes:
        frame_scores: Of the last evaluation: each frame's name and its numbers in the order of ``frame_columns``.
    """

    default_prefix = "CULane"
    frame_columns = ("tp", "fp", "fn")

    def __init__(
        self, iou_threshold: float = 0.5, width: int = 30, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_threshold = iou_threshold
        self.width = width
        self.frame_scores: list[tuple[str | None, list[int]]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch.

        Raises:
            UserError: A sample has no labels.
        """
        counts: list[LaneCounts] = [LaneCounts()] * len(data_samples)
        for size, indices in by_image_size(data_samples).items():
            samples = [data_samples[index] for index in indices]
            labelled = [lines_of(sample, "gt_instances") for sample in samples]
            predicted = [lines_of(sample, "pred_instances") for sample in samples]
            for index, count in zip(indices, count_frames(labelled, predicted, size, self.width, self.iou_threshold)):
                counts[index] = count
        self.results += [(frame_name(sample), sample.get("category"), count) for sample, count in zip(data_samples, counts)]

    def compute_metrics(self, results: list[tuple[str | None, str | None, LaneCounts]]) -> dict[str, float]:
        """Add up the frames, over all and by category."""
        if not results:
            raise UserError("CULaneMetric got no frame; check the evaluation dataset")
        self.frame_scores = [(name, [counts.tp, counts.fp, counts.fn]) for name, _, counts in results]
        metrics = _named(total(counts for _, _, counts in results))
        for category in dict.fromkeys(category for _, category, _ in results if category is not None):
            named = _named(total(counts for _, other, counts in results if other == category))
            wanted = ("fp",) if category == "cross" else named
            metrics.update({f"{category}/{key}": named[key] for key in wanted})
        return metrics


def _named(counts: LaneCounts) -> dict[str, float]:
    ratios = {"F1": counts.f1, "precision": counts.precision, "recall": counts.recall}
    return {**ratios, "tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
