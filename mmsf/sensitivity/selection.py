"""Sensitivity Aware Selection: which heads the loss focuses on."""

import math

from scipy.stats import kendalltau

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.lanes.distortion import DistortionRule
from mmsf.sensitivity.scoring import DistortionScorer


def default_top_k(heads: int) -> int:
    """The paper's k: 1 for models of two heads, else 2; a single head is always selected."""
    return min(heads, 1 if heads == 2 else 2)


def top_k(scores: dict[str, float], k: int) -> list[str]:
    """The k heads with the highest scores, in the order of ``scores``; ties go to the head listed first.

    Args:
        scores: Head -> score.
        k: How many heads to select.
    """
    best = sorted(scores, key=lambda name: -scores[name])[:k]
    return [name for name in scores if name in best]


def slope_weights(slopes: dict[str, float]) -> dict[str, float]:
    """Weights in proportion to the slopes of the curves, with a mean of 1; all 1 where no curve rises.

    So the weighted loss is, up to a factor, how far the score falls with the losses, to first order.

    Args:
        slopes: Head -> slope of its curve at its present loss, not negative.
    """
    mean = sum(slopes.values()) / len(slopes)
    return {name: slope / mean if mean > 0 else 1.0 for name, slope in slopes.items()}


def algorithm1_scores(
    adapter: Adapter, target: HeadOutputs, output: HeadOutputs, metas: list[dict], rule: DistortionRule
) -> dict[str, float]:
    """Algorithm 1 exactly: replace one head by the quantized model's, decode, score against float lanes, sum over frames.

    Args:
        adapter: The family's adapter.
        target: Heads of the float model for F frames.
        output: Heads of the quantized model, the same frames.
        metas: Metainfo of the frames.
        rule: Of the Lane Distortion Score.

    Returns:
        Head -> sum of the scores.

    Source:
        Selective Focus, Algorithm 1.
    """
    scorer = DistortionScorer(adapter, target, metas, rule)
    return {name: float(scorer(name, output.semantics[name]).sum()) for name in adapter.semantic_heads}


def order_agreement(first: dict[str, float], second: dict[str, float]) -> float:
    """Kendall's tau of the orders of the heads in two sets of scores; 1 for a single head, 0 where one set has no order."""
    if len(first) < 2:
        return 1.0
    tau = float(kendalltau(list(first.values()), [second[name] for name in first]).statistic)
    return 0.0 if math.isnan(tau) else tau
