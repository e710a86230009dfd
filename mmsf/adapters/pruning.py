"""Which candidates stay when an image may have only so many lanes."""

import numpy as np


def most_confident(keep: np.ndarray, confidence: np.ndarray, count: int | None) -> np.ndarray:
    """Keep at most ``count`` candidates of each image, the most confident ones; those that tie at the limit all go.

    Args:
        keep: (B, Q) flags of the candidates that count.
        confidence: (B, Q).
        count: None keeps all.

    Returns:
        (B, Q) flags.

    Source:
        pytorch-auto-drive's ``lane_pruning``.
    """
    if count is None or count >= keep.shape[1]:
        return keep
    limit = np.sort(np.where(keep, confidence, -1), 1)[:, ::-1][:, count]
    return keep & (confidence > limit[:, None])
