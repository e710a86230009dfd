"""Which heads move the lanes: noise-score curves, selection, and Algorithm 1 as it stands."""

from mmsf.sensitivity.curves import CurveSettings, NoiseScoreCurve, measure_curves
from mmsf.sensitivity.selection import algorithm1_scores, default_top_k, order_agreement, top_k

__all__ = [
    "CurveSettings",
    "NoiseScoreCurve",
    "algorithm1_scores",
    "default_top_k",
    "measure_curves",
    "order_agreement",
    "top_k",
]
