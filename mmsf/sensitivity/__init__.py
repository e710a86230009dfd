"""Which heads move the lanes: noise-score curves, selection, and Algorithm 1 as it stands."""

from mmsf.sensitivity.curves import CurveSettings, NoiseScoreCurve, measure_curves
from mmsf.sensitivity.foreground import ForegroundMap, candidate_lanes, foreground_map
from mmsf.sensitivity.selection import algorithm1_scores, default_top_k, order_agreement, slope_weights, top_k

__all__ = [
    "CurveSettings",
    "ForegroundMap",
    "NoiseScoreCurve",
    "algorithm1_scores",
    "candidate_lanes",
    "default_top_k",
    "foreground_map",
    "measure_curves",
    "order_agreement",
    "slope_weights",
    "top_k",
]
