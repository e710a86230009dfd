"""SCNN and RESA: a map of lane slots, and whether each slot holds a lane."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

GATES = ("foreground", "existence")
# Rows of a CULane image, 590 pixels high, bottom-up.
REFERENCE_HEIGHT = 590
STEPS = [20 * i for i in range(18)]
BLUR = 9  # cells of the mean filter, each way
IMAGES_AT_ONCE = 4  # what fits a processor's cache; more at once are slower


@TASK_UTILS.register_module()
class SegmentationAdapter(Adapter):
    """Heads and decoding of SCNN and RESA, by pytorch-auto-drive's rules for CULane.

    The one semantic head is ``location``, the map of class logits at the network's own resolution; with a single head,
    Sensitivity Aware Selection is the identity. The paper leaves open what its confidence C is for segmentation. Hence
    ``gate``:

    * "foreground": C = 1 - p(background) of each pixel. A lane's points are the maxima along rows, so only the pixels on
      and around a lane place it; they are a few percent of the map. This is what C does in the other families: it leaves of
      the semantic error what lies on lanes. A pixel that becomes a lane only in the quantized model is held back by the
      confidence term, to which the foreground then belongs beside the existence. The default.
    * "existence": C = probability that the slot of the channel holds a lane. Of a slot in use it keeps all pixels alike, so
      the background outweighs the lane within it. The background's channel, which competes with every slot, has the
      largest probability of the slots.

    Args:
        input_size: Height and width of the network's input, pixels; maps are brought to it before they are read.
        gate: "foreground" or "existence".
        existence_threshold: A slot whose probability is larger holds a lane.
        point_threshold: A row whose largest probability is larger holds a point of the lane.

    Source:
        Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", 2018.
    """

    semantic_heads = ("location",)
    channel_axis = 1
    compact = ("out",)

    def __init__(
        self,
        input_size: tuple[int, int] = (288, 800),
        gate: str = "foreground",
        existence_threshold: float = 0.5,
        point_threshold: float = 0.3,
    ) -> None:
        if gate not in GATES:
            raise UserError(f"SegmentationAdapter: gate={gate!r} is unknown; choose one of {', '.join(GATES)}")
        self.input_size = tuple(input_size)
        self.gated_by = gate
        self.existence_threshold = existence_threshold
        self.point_threshold = point_threshold
        height = self.input_size[0]
        # Truncated after the same float operations as the original's.
        rows = [int(height - step / REFERENCE_HEIGHT * height - 1) for step in STEPS]
        neighbours = np.arange(BLUR) - BLUR // 2
        self.windows = torch.from_numpy((np.array(rows)[:, None] + neighbours).clip(0, height - 1))

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``out`` (B, 1 + slots, h, w) and ``lane`` (B, slots).

        Confidences are ``existence`` (B, slots) and, if it gates, ``foreground`` (B, 1, h, w).
        """
        confidences = {"existence": raw["lane"].sigmoid()}
        if self.gated_by == "foreground":
            confidences["foreground"] = 1 - raw["out"].softmax(1)[:, :1]
        return HeadOutputs(semantics={"location": raw["out"]}, confidences=confidences)

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Of each pixel, (B, 1, h, w), or of each channel, (B, 1 + slots, 1, 1)."""
        if self.gated_by == "foreground":
            return heads.confidences["foreground"]
        existence = heads.confidences["existence"]
        return torch.cat((existence.amax(1, keepdim=True), existence), 1)[..., None, None]

    @torch.no_grad()
    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Read the lane of each slot in use off the rows: lanes from left to right, points bottom-up.

        Rows are those of a CULane image, 589, 569, ..., 249 of 590, scaled to the original image; x is a whole pixel.
        A point at x = 0 counts as missing; a lane of fewer than two points is dropped.
        """
        size = np.array([meta["ori_shape"][:2] for meta in metas], np.float64)
        existence = heads.confidences["existence"].detach().cpu().numpy().astype(np.float64)
        chunks = [self._peaks(maps) for maps in heads.semantics["location"].detach().split(IMAGES_AT_ONCE)]
        columns, values = (np.concatenate(parts) for parts in zip(*chunks))
        x = np.trunc(columns / self.input_size[1] * size[:, 1, None, None])
        y = (REFERENCE_HEIGHT - np.array(STEPS) - 1) * (size[:, :1] / REFERENCE_HEIGHT)
        exists = existence > self.existence_threshold
        valid = exists[..., None] & (values > self.point_threshold) & (x > 0)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for image, slot in np.argwhere(valid.sum(-1) >= 2):
            rows = valid[image, slot]
            points = np.stack((x[image, slot, rows], y[image, rows]), 1)
            lanes[image].append(Lane(points, existence[image, slot]))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """The expected column of every row in each slot's part of the map: (B, slots, h)."""
        # Squared, the faint probabilities of the many columns beside the lane do not draw it to the middle.
        along = (2 * heads.semantics["location"].log_softmax(1)[:, 1:]).softmax(-1)
        return (along * torch.linspace(0, FRAME[1], along.shape[-1], device=along.device)).sum(-1)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """The slot's existence times the row's largest probability."""
        height = reference.semantics["location"].softmax(1)[:, 1:].amax(-1)
        return reference.confidences["existence"][..., None] * height

    def _peaks(self, logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Maps (B, K, h, w) to the largest blurred probability of each slot and row: column and value, (B, slots, rows)."""
        at_rows = self._rows_read(logits)
        if at_rows.shape[-1] != self.input_size[1]:
            size = (at_rows.shape[2], self.input_size[1])
            at_rows = F.interpolate(at_rows, size, mode="bilinear", align_corners=True)
        # The mean filter, BORDER_REPLICATE, at the rows that are read only; summed in double as OpenCV does.
        probabilities = at_rows.softmax(1)[:, 1:].unflatten(2, self.windows.shape)
        columns = _sum(probabilities.unbind(-2))
        columns = F.pad(columns, (BLUR // 2, BLUR // 2, 0, 0), mode="replicate")
        blurred = (_sum(columns.unfold(-1, BLUR, 1).unbind(-1)) / BLUR**2).to(logits.dtype).cpu().numpy()
        peaks = blurred.argmax(-1)
        return peaks, np.take_along_axis(blurred, peaks[..., None], -1)[..., 0]

    def _rows_read(self, logits: Tensor) -> Tensor:
        """The rows of the input's height that the filter reads, (B, K, rows * `BLUR`, w): bilinear, corners aligned."""
        rows = self.windows.flatten().to(logits.device)
        height = logits.shape[2]
        if height == self.input_size[0]:
            return logits[:, :, rows]
        place = rows.to(logits.dtype) * ((height - 1) / (self.input_size[0] - 1))
        above = place.long().clamp(max=height - 2)
        return torch.lerp(logits[:, :, above], logits[:, :, above + 1], (place - above)[:, None])


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """Their sum, in double; one after the other is faster than along an axis."""
    total = parts[0].to(torch.float64, copy=True)
    for part in parts[1:]:
        total += part
    return total
