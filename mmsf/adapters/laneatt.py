"""LaneATT: scored lines at common rows, thinned out by line NMS."""

import numpy as np
import torch
from scipy.interpolate import InterpolatedUnivariateSpline
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.lanes.anchor_rows import rows_of_lanes
from mmsf.lanes.lane import Lane
from mmsf.lanes.nms import line_nms
from mmsf.registry import TASK_UTILS


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


@TASK_UTILS.register_module()
class LaneATTAdapter(Adapter):
    """Heads and decoding of LaneATT.

    The semantic heads are ``offsets``, x-positions as shares of the input's width, and ``length``, rows as a share of all
    rows: so both weigh about as much as the confidence does. The anchor's lane probability gates them. The defaults are
    pytorch-auto-drive's rules for CULane.

    Args:
        input_width: Width of the network's input, pixels: the unit of the raw positions.
        threshold: Keep anchors whose lane probability is larger.
        nms_distance: Of lanes nearer than so many pixels of the network's input, on average, the most confident stays.
        max_lanes: Keep at most so many lanes, the most confident ones; None keeps all.
        length_quirk: Which lanes are one row shorter in the suppression, "pad" or "original"; see `mmsf.lanes.line_nms`.
        spline: False: points at the network's rows, top-down, also beyond the right border, as pytorch-auto-drive has them.
            True: a spline through them, at every pixel row of the original image, bottom-up, inside it, as the authors do.

    Raises:
        UserError: The quirk is unknown.

    Source:
        Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", 2021.
    """

    semantic_heads = ("offsets", "length")

    def __init__(
        self,
        input_width: int = 640,
        threshold: float = 0.5,
        nms_distance: float = 50.0,
        max_lanes: int | None = 4,
        length_quirk: str = "pad",
        spline: bool = False,
    ) -> None:
        if length_quirk not in ("pad", "original"):
            raise UserError(f"LaneATTAdapter: length_quirk={length_quirk!r} is unknown; choose pad or original")
        self.input_width = input_width
        self.threshold = threshold
        self.nms_distance = nms_distance
        self.max_lanes = max_lanes
        self.length_quirk = length_quirk
        self.spline = spline

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``logits`` (B, N, 2), ``offsets`` (B, N, R), ``lengths`` (B, N) and ``starts`` (B, N)."""
        return HeadOutputs(
            semantics={
                "offsets": raw["offsets"] / self.input_width,
                "length": raw["lengths"][..., None] / raw["offsets"].shape[-1],
            },
            confidences={"lane": raw["logits"].softmax(-1)[..., 1]},
            constants={"starts": raw["starts"]},
        )

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Lane probability of each anchor, (B, N, 1)."""
        return heads.confidences["lane"][..., None]

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Suppress, cut to their rows, and scale: lanes of each image, the most confident first."""
        scores, starts = _array(heads.confidences["lane"]), _array(heads.constants["starts"])
        xs = _array(heads.semantics["offsets"])
        rows = xs.shape[-1]
        lengths = _array(heads.semantics["length"])[..., 0] * np.float32(rows)
        kept = [self._kept(*arrays) for arrays in zip(scores, starts, lengths, xs)]
        image = np.repeat(np.arange(len(kept)), [len(anchors) for anchors in kept])
        anchor = np.concatenate(kept)
        xs = xs[image, anchor]
        first = np.rint(starts[image, anchor].astype(np.float64) * (rows - 1)).astype(np.int64)
        last = first + np.rint(lengths[image, anchor]).astype(np.int64) - 1
        visible = rows_of_lanes(xs, first, last) & (xs >= 0)  # beyond the left border there is nothing to see
        y = np.linspace(1, 0, rows)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for index, lane, rows_seen, score in zip(image, xs.astype(np.float64), visible, scores[image, anchor]):
            if rows_seen.sum() >= 2:
                top_down = np.stack((lane[rows_seen], y[rows_seen]), 1)[::-1]
                height, width = metas[index]["ori_shape"][:2]
                points = _sampled(top_down, height) if self.spline else top_down
                if len(points):
                    lanes[index].append(Lane(points * (width, height), score))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """x at every row, and y of the upper end: (B, N, R + 1)."""
        height, width = FRAME
        return torch.cat((heads.semantics["offsets"] * width, heads.semantics["length"] * height), -1)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """Each anchor's lane probability in the rows from its start to its upper end, and for that end."""
        rows = reference.semantics["offsets"].shape[-1]
        first = reference.constants["starts"][..., None] * (rows - 1)
        last = first + reference.semantics["length"] * rows
        row = torch.arange(rows, device=first.device)
        visible = (row >= first - 0.5) & (row < last)
        return self.gate(reference, "offsets") * torch.cat((visible, torch.ones_like(visible[..., :1])), -1)

    def _kept(self, scores: np.ndarray, starts: np.ndarray, lengths: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """Anchors of one image that stay, the most confident first."""
        (anchors,) = np.nonzero(scores > self.threshold)
        xs = xs[anchors] * np.float32(self.input_width)
        kept = line_nms(
            scores[anchors], starts[anchors], lengths[anchors], xs, self.nms_distance, self.max_lanes, self.length_quirk
        )
        return anchors[kept]


def _sampled(points: np.ndarray, height: int) -> np.ndarray:
    """Spline x(y) through points (P, 2), top-down and normalised, at the pixel rows of an image; (Q, 2), bottom-up.

    It reaches a hundredth of the height beyond the points; rows where it is outside the image are left out.
    """
    x, y = points.T
    rows = np.arange(height)[::-1] / height
    rows = rows[(rows >= y[0] - 0.01) & (rows <= y[-1] + 0.01)]
    sampled = InterpolatedUnivariateSpline(y, x, k=min(3, len(points) - 1))(rows)
    inside = (sampled >= 0) & (sampled < 1)
    return np.stack((sampled[inside], rows[inside]), 1)
