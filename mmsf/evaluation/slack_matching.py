"""The assignment of CULane's official evaluator: Kuhn-Munkres with a slack, which is not always the best assignment."""

import math
from collections.abc import Sequence

import numpy as np

SLACK = 1e-2
"""Pairs whose labels exceed their similarity by less than this count as tight, which makes the result depend on order."""


def _grow(
    left: int, weights: Sequence[Sequence[float]], labels: tuple[list, list], partner: list, seen: tuple[set, set]
) -> bool:
    """Flip an augmenting path that starts at a left node and keeps to tight pairs, if there is one; right nodes in order."""
    seen[0].add(left)
    for right, weight in enumerate(weights[left]):
        if right in seen[1] or not abs(labels[0][left] + labels[1][right] - weight) < SLACK:  # NaN is never tight
            continue
        seen[1].add(right)
        if partner[right] is None or _grow(partner[right], weights, labels, partner, seen):
            partner[right] = left
            return True
    return False


def _match_all_left(weights: Sequence[Sequence[float]]) -> list:
    """The left partner of each right node, None for those left over; needs at least as many right as left nodes."""
    labels = ([max((w for w in row if not math.isnan(w)), default=-1e5) for row in weights], [0.0] * len(weights[0]))
    partner: list = [None] * len(weights[0])
    for left in range(len(weights)):
        while True:
            seen: tuple[set, set] = (set(), set())
            if _grow(left, weights, labels, partner, seen):
                break
            excess = [
                labels[0][i] + labels[1][j] - weights[i][j]
                for i in seen[0]
                for j in range(len(partner))
                if j not in seen[1] and not math.isnan(weights[i][j])
            ]
            if not excess:  # nothing but NaN is left: the official search ends here, for all nodes that follow, too
                return partner
            change = min(excess)
            for i in seen[0]:
                labels[0][i] -= change
            for j in seen[1]:
                labels[1][j] += change
    return partner


def match_lanes(similarity: np.ndarray) -> np.ndarray:
    """Assign predicted to labelled lanes as the official evaluator does, order of lanes and NaN included.

    Every lane of the smaller side gets a partner, be the similarity ever so small, unless NaN stands in the way.

    Args:
        similarity: (G, P) IoU of each labelled with each predicted lane; NaN where both lie outside the image.

    Returns:
        (G,) int64, the predicted lane of each labelled one, -1 for none.
    """
    similarity = np.asarray(similarity, np.float64)
    labelled, predicted = similarity.shape
    match = np.full(labelled, -1, np.int64)
    if not labelled or not predicted:
        return match
    swapped = labelled > predicted
    weights = similarity.T if swapped else similarity
    for right, left in enumerate(_match_all_left(weights.tolist())):
        if left is not None:
            match[right if swapped else left] = left if swapped else right
    return match
