"""BezierLaneNet: control points of one curve a column."""

import numpy as np
import torch
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.adapters.pruning import most_confident
from mmsf.errors import UserError
from mmsf.lanes.bezier import bernstein
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

LOSS_POINTS = 18  # of a curve, that a loss on lanes looks at


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)


@TASK_UTILS.register_module()
class BezierAdapter(Adapter):
    """Heads and decoding of BezierLaneNet: one semantic head, ``curve``, the eight control numbers of a column.

    Sensitivity Aware Selection is the identity for a single head. The defaults are pytorch-auto-drive's rules for CULane:
    points outside the image stay in a lane, and they are in the order of the curve's parameter.

    Args:
        threshold: Keep columns whose lane probability is larger.
        window: Columns; of so many side by side, only the most confident can be a lane, the left one of equals. Odd.
        max_lanes: Keep at most so many lanes, the most confident ones; lanes that tie at the limit all go. None keeps all.
        points: Points of a lane, at equal steps of the curve's parameter.

    Raises:
        UserError: The window is even, or there are fewer than two points.

    Source:
        Feng et al., "Rethinking Efficient Lane Detection via Curve Modeling", 2022.
    """

    semantic_heads = ("curve",)

    def __init__(self, threshold: float = 0.95, window: int = 9, max_lanes: int | None = 4, points: int = 50) -> None:
        if window < 1 or window % 2 == 0:
            raise UserError(f"BezierAdapter: window={window} has no middle column; choose an odd number")
        if points < 2:
            raise UserError(f"BezierAdapter: a lane needs two points at least, not {points}")
        self.threshold = threshold
        self.window = window
        self.max_lanes = max_lanes
        self.bernstein = bernstein(np.linspace(0, 1, points))  # (points, 4)

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``logits`` (B, Q) and ``curves`` (B, Q, 4, 2)."""
        return HeadOutputs(
            semantics={"curve": raw["curves"].flatten(2)},
            confidences={"lane": raw["logits"].sigmoid()},
        )

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Lane probability of each column, (B, Q, 1)."""
        return heads.confidences["lane"][..., None]

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Sample the kept columns' curves; lanes from left to right by their column."""
        probabilities = _array(heads.confidences["lane"])
        keep = (probabilities > self.threshold) & self._is_local_maximum(probabilities)
        image, column = np.nonzero(most_confident(keep, probabilities, self.max_lanes))
        control = _array(heads.semantics["curve"])[image, column].reshape(-1, 4, 2)
        size = np.array([meta["ori_shape"][1::-1] for meta in metas], np.float64)  # width, height
        points = (self.bernstein @ control) * size[image, None]
        lanes: list[list[Lane]] = [[] for _ in metas]
        for index, lane, score in zip(image, points, probabilities[image, column]):
            lanes[index].append(Lane(lane, score))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """x and y of points at equal steps of each column's curve: (B, Q, 2 LOSS_POINTS)."""
        curve = heads.semantics["curve"]
        steps = np.linspace(0, len(self.bernstein) - 1, LOSS_POINTS).round().astype(np.int64)
        bernstein = torch.from_numpy(self.bernstein[steps]).to(curve)
        size = curve.new_tensor(FRAME[::-1])
        return ((bernstein @ curve.unflatten(-1, (4, 2))) * size).flatten(2)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """The lane probability of each column."""
        return self.gate(reference, "curve").expand(-1, -1, 2 * LOSS_POINTS)

    def _is_local_maximum(self, probabilities: np.ndarray) -> np.ndarray:
        """Flags (B, Q) of columns that are the first largest of the window around them."""
        half = self.window // 2
        padded = np.pad(probabilities, ((0, 0), (half, half)), constant_values=-1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.window, 1)
        return windows.argmax(-1) == half
