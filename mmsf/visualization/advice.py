"""What to do next, in one sentence drawn from a run's figures."""

from collections.abc import Mapping
from typing import Any

from mmsf.visualization.table import number

# Points of a lane, a frame, below which the lanes are called whole; a lane has about twenty.
_WHOLE = 1.0
_WORTH = 0.9  # more bits are advised where they leave at most this share of the distortion


def next_step(summary: Mapping[str, Any], sensitivity: Mapping[str, Any]) -> str | None:
    """Say what to do next.

    Args:
        summary: ``summary.json``.
        sensitivity: ``sensitivity.json``; after an analysis it holds the scores of single heads and the plan that was tried.

    Returns:
        One sentence, or None where nothing was measured that it could be drawn from.
    """
    if "all_heads" in sensitivity:
        return _after_analysis(sensitivity)
    scores = {name: head["sensitivity"] for name, head in (summary.get("heads") or {}).items() if head.get("sensitivity")}
    if len(scores) < 2:
        return None
    worst = max(scores, key=scores.get)
    return (
        f"The head {worst} still moves the lanes most, by a Lane Distortion Score of {number(scores[worst])}: "
        "tools/analyze_sensitivity.py says which of its places and which layers that comes from."
    )


def _after_analysis(sensitivity: Mapping[str, Any]) -> str:
    if not sensitivity.get("sees_lanes", True):
        return (
            "The float model finds no lane in the calibration frames, so nothing can be said of the quantized one: give "
            "calibration frames that have lanes."
        )
    everything = sensitivity["all_heads"]
    if everything < _WHOLE:
        return (
            f"Range estimation alone keeps the lanes (a Lane Distortion Score of {number(everything)} a frame): this model "
            "can be used as it is, and tools/ptq.py tunes away the rest."
        )
    alone = {f"the head {name}": score for name, score in sensitivity["algorithm1"].items()}
    alone |= {f"the confidence {name}": score for name, score in sensitivity["confidences"].items()}
    worst = max(alone, key=alone.get)
    broken = (
        f"{worst[0].upper()}{worst[1:]} breaks most (alone {alone[worst]:.1f} of all heads' {everything:.1f} points a frame)"
    )
    plan = sensitivity.get("more_bits")
    if not plan:
        return f"{broken}: tune with tools/ptq.py, which lowers the loss of the heads that move the lanes."
    count, won = len(plan["layers"]), f"distortion {plan['score']:.1f} to {plan['score_with']:.1f}"
    layers = f"{plan['layers'][0]} alone" if count == 1 else f"{count} layers, {plan['layers'][0]} first,"
    measured = f"{100 * plan['mac_share']:.2g} % of the multiply-accumulates; {won}"
    if plan["score_with"] <= _WORTH * plan["score"]:
        return f"{broken}: put {layers} at 8 bits ({measured}) with tools/ptq.py --bit-plan bit_plan.json."
    return (
        f"{broken}, and {layers} at 8 bits wins little ({measured}): tune with tools/ptq.py, or give all layers more bits."
    )
