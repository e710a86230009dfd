"""Metrics: CULane's F1, TuSimple's accuracy, agreement of quantized and float lanes."""

from mmsf.evaluation.agreement import LaneAgreement, agreement
from mmsf.evaluation.culane_files import CULaneReport, count_files, evaluate_lists
from mmsf.evaluation.culane_metric import CULaneMetric
from mmsf.evaluation.culane_score import LaneCounts, count_frames, frame_ious
from mmsf.evaluation.slack_matching import match_lanes
from mmsf.evaluation.tusimple_metric import TuSimpleMetric
from mmsf.evaluation.tusimple_score import TuSimpleScore, mean_score, score_frame, score_frames

__all__ = [
    "CULaneMetric",
    "CULaneReport",
    "LaneAgreement",
    "LaneCounts",
    "TuSimpleMetric",
    "TuSimpleScore",
    "agreement",
    "count_files",
    "count_frames",
    "evaluate_lists",
    "frame_ious",
    "match_lanes",
    "mean_score",
    "score_frame",
    "score_frames",
]
