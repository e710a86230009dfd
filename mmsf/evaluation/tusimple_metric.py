"""TuSimple's accuracy, FP and FN as a metric of MMEngine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mmsf.errors import UserError
from mmsf.evaluation.samples import frame_name, lines_of
from mmsf.evaluation.tusimple_score import TuSimpleScore, mean_score, score_frame
from mmsf.lanes.tusimple import MISSING, resample
from mmsf.registry import METRICS


def _labelled_positions(lines: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(L, R) x-positions of labelled lanes, whose points stand on the rows themselves: a gap stays a gap."""
    positions = np.full((len(lines), len(rows)), MISSING)
    for index, line in enumerate(lines):
        point, row = np.nonzero(line[:, 1:] == rows)
        positions[index, row] = line[point, 0]
    return positions


@METRICS.register_module()
class TuSimpleMetric(BaseMetric):
    """Accuracy, FP and FN by the official rules, means over frames, and the F1 that follows from FP and FN.

    Keys: ``TuSimple/accuracy``, ``TuSimple/FP``, ``TuSimple/FN``, ``TuSimple/F1``. Predicted lanes are taken at the sample's
    ``h_samples`` by linear interpolation. The limit on run time does not apply.

    A sample has ``gt_instances.lines`` and ``pred_instances.lines``, lists of (P, 2) in pixels of the original image, and
    ``h_samples`` (R,) in its metainfo.

    Args:
        collect_device: Where the results of several processes are gathered, "cpu" or "gpu".
        prefix: First part of the keys in place of "TuSimple".

    Attributes:
        frame_scores: Of the last evaluation: each frame's name and its numbers in the order of ``frame_columns``.
    """

    default_prefix = "TuSimple"
    frame_columns = ("accuracy", "fp", "fn")

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.frame_scores: list[tuple[str | None, list[float]]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score a batch.

        Raises:
            UserError: A sample has no labels, or no ``h_samples``.
        """
        for sample in data_samples:
            if sample.get("h_samples") is None:
                raise UserError("TuSimpleMetric needs h_samples of every frame; use TuSimpleDataset and pack its metainfo")
            rows = np.asarray(sample["h_samples"], np.float64)
            labelled = _labelled_positions(lines_of(sample, "gt_instances"), rows)
            predicted = resample(lines_of(sample, "pred_instances"), rows)
            self.results.append((frame_name(sample), score_frame(labelled, predicted, rows)))

    def compute_metrics(self, results: list[tuple[str | None, TuSimpleScore]]) -> dict[str, float]:
        """Mean over the frames."""
        if not results:
            raise UserError("TuSimpleMetric got no frame; check the evaluation dataset")
        self.frame_scores = [(name, [score.accuracy, score.fp, score.fn]) for name, score in results]
        score = mean_score(score for _, score in results)
        return {"accuracy": score.accuracy, "FP": score.fp, "FN": score.fn, "F1": score.f1}
