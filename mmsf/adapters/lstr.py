"""LSTR: curve numbers of seven queries, of which four are shared by all."""

import numpy as np
import torch
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.adapters.pruning import most_confident
from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

# Height in pixels of the picture for which the rows are written, and the rows in the order in which the source lists them.
ROWS = {
    "culane": (590, [590 - 20 * i for i in range(18)]),
    "culane_original": (590, [590 - 20 * i - 1 for i in range(18)]),
    "tusimple": (720, list(range(160, 720, 10))),
}
# Rows of a lane that a loss on lanes looks at.
LOSS_ROWS = 18
# Rows nearer to a curve's pole than this, as a share of the height, are evaluated at this distance: finite gradients.
POLE_MARGIN = 1e-2
BOUNDS = ("open", "closed", "swapped_upper")
X_RANGES = ("unit", "pixels", "any")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)


@TASK_UTILS.register_module()
class LSTRAdapter(Adapter):
    """Heads and decoding of LSTR.

    The eight curve numbers of a query are its two vertical ends (head ``range``), the four numbers k, f, m, n of the road's
    shape, which are the mean over the queries and therefore the same for all (``shape``), and two numbers of its own
    (``offset``). The defaults are pytorch-auto-drive's rules for CULane.

    Args:
        threshold: Keep queries whose lane probability is larger; None keeps those whose most likely class is the lane.
        max_lanes: Keep at most so many lanes, the most confident ones; lanes that tie at the limit all go. None keeps all.
        rows: At which rows a lane is evaluated: "culane" (590, 570, ...) or "culane_original" (589, 569, ...), both of an
            image 590 pixels high, or "tusimple" (160, 170, ..., 710 of 720). They scale with the original image's height.
        bounds: "open": number 0 is the upper end u, number 1 the lower end l, rows u < y < l are kept; "closed": the same
            with u <= y <= l (the authors' TuSimple weights); "swapped_upper": number 1 is the upper end, rows y >= u are
            kept and the lower end is not tested (the authors' CULane weights).
        x_range: Points to keep: "unit" 0 <= x <= 1, "pixels" 0 <= x <= width - 1 in pixels, "any" also those outside.

    Source:
        Liu et al., "End-to-end Lane Shape Prediction with Transformers", 2021, Eq. 6.
    """

    semantic_heads = ("range", "shape", "offset")

    def __init__(
        self,
        threshold: float | None = 0.95,
        max_lanes: int | None = 4,
        rows: str = "culane",
        bounds: str = "open",
        x_range: str = "unit",
    ) -> None:
        for name, value, known in (("rows", rows, ROWS), ("bounds", bounds, BOUNDS), ("x_range", x_range, X_RANGES)):
            if value not in known:
                raise UserError(f"LSTRAdapter: {name}={value!r} is unknown; choose one of {', '.join(known)}")
        self.threshold = threshold
        self.max_lanes = max_lanes
        self.reference_height, pixel_rows = ROWS[rows]
        self.pixel_rows = np.array(pixel_rows, np.float64)
        self.bounds = bounds
        self.x_range = x_range

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``logits`` (B, Q, K) and ``curves`` (B, Q, 8).

        The shared head is kept once, (B, 1, 4): noise on it moves all lanes together, as it would in the network. The
        confidence ``lane`` holds the probabilities of all classes but the background, (B, Q, K - 1); the lane's comes first.
        """
        curves = raw["curves"]
        return HeadOutputs(
            semantics={"range": curves[..., 0:2], "shape": curves[:, :1, 2:6], "offset": curves[..., 6:8]},
            confidences={"lane": raw["logits"].softmax(-1)[..., 1:]},
        )

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Lane probability of each query, (B, Q, 1); for ``shape`` the largest one, (B, 1, 1).

        The shared numbers matter as soon as one lane is seen, so a mean over the queries, most of which are empty, would
        understate them.
        """
        lane = heads.confidences["lane"][..., :1]
        return lane.amax(1, keepdim=True) if name == "shape" else lane

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Evaluate the kept queries' curves at the rows: lanes in query order, without those of fewer than two points."""
        probabilities = _array(heads.confidences["lane"])
        keep = self._kept(probabilities)
        scores = probabilities[..., 0]
        size = np.array([meta["ori_shape"][:2] for meta in metas], np.float64)
        y = self.pixel_rows / self.reference_height
        x = self._curves(heads, y) * size[:, 1, None, None]
        valid = keep[..., None] & self._valid(x, y, _array(heads.semantics["range"]), size[:, 1, None, None])
        pixel_y = self.pixel_rows * (size[:, :1] / self.reference_height)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for image, query in np.argwhere(valid.sum(-1) >= 2):
            rows = valid[image, query]
            points = np.stack((x[image, query, rows], pixel_y[image, rows]), 1)
            lanes[image].append(Lane(points, scores[image, query]))
        return lanes

    def _kept(self, probabilities: np.ndarray) -> np.ndarray:
        """(B, Q, K - 1) probabilities to (B, Q) flags."""
        lane = probabilities[..., 0]
        if self.threshold is not None:
            keep = lane > self.threshold
        else:
            # argmax takes the first of equal classes: the background before the lane, the lane before the rest.
            keep = (lane > 1 - probabilities.sum(-1)) & (lane >= probabilities.max(-1))
        return most_confident(keep, lane, self.max_lanes)

    def _curves(self, heads: HeadOutputs, y: np.ndarray) -> np.ndarray:
        """x (B, Q, R), normalised, at normalised rows y (R)."""
        k, f, m, n = (_array(heads.semantics["shape"])[..., i, None] for i in range(4))
        b, c = (_array(heads.semantics["offset"])[..., i, None] for i in range(2))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return k / (y - f) ** 2 + m / (y - f) + n + b * y - c

    def _valid(self, x: np.ndarray, y: np.ndarray, ends: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Flags (B, Q, R) of points x (pixels) inside the lane's ends (B, Q, 2) and the image."""
        first, second = ends[..., 0, None], ends[..., 1, None]
        with np.errstate(invalid="ignore"):
            valid = np.isfinite(x)
            if self.bounds == "open":
                valid &= (first < y) & (y < second)
            elif self.bounds == "closed":
                valid &= (first <= y) & (y <= second)
            else:
                valid &= second <= y
            if self.x_range != "any":
                valid &= (x >= 0) & (x <= (width if self.x_range == "unit" else width - 1))
        return valid

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """x at rows spread evenly between the reference's ends of each query's lane, then both ends: (B, Q, R + 2)."""
        height, width = FRAME
        ends = reference.semantics["range"].clamp(0, 1).sort(-1).values
        share = torch.linspace(0, 1, LOSS_ROWS, device=ends.device)
        y = ends[..., :1] * (1 - share) + ends[..., 1:] * share
        k, f, m, n = heads.semantics["shape"].unsqueeze(-1).unbind(2)
        b, c = heads.semantics["offset"].unsqueeze(-1).unbind(2)
        distance = y - f
        near = distance.abs() < POLE_MARGIN
        distance = torch.where(near, torch.where(distance < 0, -POLE_MARGIN, POLE_MARGIN), distance)
        x = k / distance**2 + m / distance + n + b * y - c
        return torch.cat((x * width, heads.semantics["range"] * height), -1)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """The lane probability of each query."""
        lane = reference.confidences["lane"][..., :1]
        return lane.expand(-1, -1, LOSS_ROWS + 2)
