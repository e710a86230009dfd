"""Lane Distortion Score of layers: quantize one layer alone, decode, compare with the float lanes."""

from collections.abc import Callable, Iterable

from mmsf.adapters.base import HeadOutputs
from mmsf.quantization import QuantizedNetwork
from mmsf.sensitivity.scoring import DistortionScorer


def layer_scores(
    network: QuantizedNetwork, names: Iterable[str], heads: Callable[[], HeadOutputs], scorer: DistortionScorer
) -> dict[str, float]:
    """Mean distortion of the lanes when a single layer is quantized and all others stay in float.

    Args:
        network: The quantized network, its ranges set.
        names: Layers and function calls to score.
        heads: Runs the network over the scorer's frames and splits what comes out.
        scorer: Knows the float model's lanes.

    Returns:
        Layer or function call -> mean score of a frame.
    """
    scores = {}
    for name in names:
        with network.only(name):
            scores[name] = float(scorer.of(heads()).mean())
    return scores
