"""CLRNet and CLRerNet: lines refined from priors, read from the heads of the last refinement stage."""

import logging
import math

import numpy as np
import torch
from mmengine.logging import print_log
from scipy.interpolate import InterpolatedUnivariateSpline
from torch import Tensor, nn

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.lanes.anchor_rows import rows_of_lanes
from mmsf.lanes.crop import rows_cut
from mmsf.lanes.lane import Lane
from mmsf.lanes.nms import line_nms
from mmsf.registry import TASK_UTILS

# A line that lies nearly flat leaves the image at once; cut off here, in widths of the image, it can be taken from the
# positions and put back without loss.
_FARTHEST = 10.0
# How far beyond its points a lane's spline is read, as a share of the image's height.
_BEYOND = 0.01


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


@TASK_UTILS.register_module()
class CLRNetAdapter(Adapter):
    """Heads and decoding of onedl-mmdetection's CLRNet, whose classes stay as they are.

    The semantic heads are ``anchor`` (the line's start from the bottom up as a share of the height, its start from the left
    as a share of the width, its angle in half turns), ``length`` (as a share of the rows) and ``offsets`` (from the line to
    the lane on every row, as shares of the width). The softmax over the prior's two logits gates all of them.

    Lines are suppressed by mmsf's own NMS: the original's is for CUDA alone, and without CUDA it is left out in silence. The
    thresholds' defaults are those that onedl-mmdetection has in its code.

    Args:
        input_size: Height and width of the network's input, pixels.
        threshold: Keep priors whose lane probability is at least so large.
        nms_distance: Of lanes nearer than so many pixels of the network's input, on average, the most confident stays; None
            suppresses nothing, and limits nothing either.
        max_lanes: Keep at most so many lanes, the most confident ones; None keeps all.
        crop_top: Rows of the original image that the network does not see, of ``crop_height``; as `LoadImage` has them.
        crop_height: Pixels.
        last_pixel: 1 is the centre of the last pixel, as onedl-mmdetection has it; otherwise it is the image's edge.

    Source:
        Zheng et al., "CLRNet: Cross Layer Refinement Network for Lane Detection", 2022.
    """

    semantic_heads = ("anchor", "length", "offsets")

    def __init__(
        self,
        input_size: tuple[int, int],
        threshold: float = 0.05,
        nms_distance: float | None = 0.5,
        max_lanes: int | None = 5,
        crop_top: int = 0,
        crop_height: int = 590,
        last_pixel: bool = True,
    ) -> None:
        self.height, self.width = input_size
        self.threshold = threshold
        self.nms_distance = nms_distance
        self.max_lanes = max_lanes
        self.crop_top, self.crop_height = crop_top, crop_height
        self.last_pixel = last_pixel
        if nms_distance is not None:
            print_log(
                f"{type(self).__name__}: lanes nearer than {nms_distance:g} px are suppressed by mmsf's own line NMS, on "
                "any device; the detector's own, which needs CUDA, is not called",
                logger="current",
                level=logging.INFO,
            )

    def run(self, detector: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """The head's predictions, (B, N, 6 + R); the detector's own mode "tensor" takes no tensor."""
        return {"predictions": detector.bbox_head(detector.extract_feat(images), None)}

    def complete(self, samples: list) -> list:
        """``ori_shape`` of the original image, which onedl-mmdetection's own samples keep as two numbers."""
        for sample in samples:
            if "ori_shape" not in sample:
                sample.set_metainfo(dict(ori_shape=(sample.org_height, sample.org_width)))
        return samples

    def own_form(self, samples: list) -> list:
        """The samples, whose lanes have their confidence as ``line_conf`` too."""
        for sample in samples:
            sample.pred_instances.line_conf = sample.pred_instances.scores.tolist()
        return samples

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``predictions``: two logits, start y, start x, angle, length, R positions."""
        logits, anchor, length, xs = raw["predictions"].split([2, 3, 1, raw["predictions"].shape[-1] - 6], -1)
        return self._heads(logits, anchor, length, xs)

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """Lane probability of each prior, (B, N, 1)."""
        return heads.confidences["lane"][..., None]

    def positions(self, heads: HeadOutputs) -> Tensor:
        """x on every row from the bottom up, (B, N, R), as a share of the width."""
        offsets = heads.semantics["offsets"]
        return self._line(heads.semantics["anchor"], offsets.shape[-1]) + offsets

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Suppress, cut to their rows, and scale: lanes of each image from top to bottom, the most confident lane first."""
        scores, xs = _array(heads.confidences["lane"]), _array(self.positions(heads))
        starts, lengths = _array(heads.semantics["anchor"])[..., 0], _array(heads.semantics["length"])[..., 0]
        rows = xs.shape[-1]
        lengths = lengths * np.float32(rows - 1)
        kept = [self._kept(*arrays) for arrays in zip(scores, starts, lengths, xs)]
        image = np.repeat(np.arange(len(kept)), [len(priors) for priors in kept])
        prior = np.concatenate(kept)
        xs = xs[image, prior]
        first = np.rint(starts[image, prior].astype(np.float64) * (rows - 1)).clip(0, rows - 1).astype(np.int64)
        last = first + np.rint(lengths[image, prior]).astype(np.int64) - 1
        visible = self._visible(xs, first, last)
        y = np.linspace(1, 0, rows, dtype=np.float32).astype(np.float64)
        lanes: list[list[Lane]] = [[] for _ in metas]
        for index, lane, seen, score in zip(image, xs.astype(np.float64), visible, scores[image, prior]):
            if seen.sum() >= 2:
                top_down = np.stack((lane[seen], y[seen]), 1)[::-1]
                lanes[index].append(Lane(self._in_pixels(top_down, metas[index]["ori_shape"][:2]), score))
        return lanes

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """x at every row, and y of the lower and of the upper end: (B, N, R + 2)."""
        height, width = FRAME
        start, length = heads.semantics["anchor"][..., :1], heads.semantics["length"]
        seen = height * (1 - self.crop_top / self.crop_height)
        return torch.cat((self.positions(heads) * width, start * seen, (start + length) * seen), -1)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """Each prior's lane probability in the rows from its start to its upper end, and for both ends."""
        rows = reference.semantics["offsets"].shape[-1]
        first = reference.semantics["anchor"][..., :1] * (rows - 1)
        last = first + reference.semantics["length"] * (rows - 1)
        row = torch.arange(rows, device=first.device)
        visible = (row >= first - 0.5) & (row < last)
        return self.gate(reference, "offsets") * torch.cat((visible, torch.ones_like(visible[..., :2])), -1)

    def _heads(self, logits: Tensor, anchor: Tensor, length: Tensor, xs: Tensor) -> HeadOutputs:
        offsets = xs - self._line(anchor, xs.shape[-1])
        return HeadOutputs(
            semantics={"anchor": anchor, "length": length, "offsets": offsets},
            confidences={"lane": logits.softmax(-1)[..., 1]},
        )

    def _line(self, anchor: Tensor, rows: int) -> Tensor:
        """x of an anchor's straight line on every row from the bottom up, (B, N, rows), as a share of the width."""
        start_y, start_x, angle = anchor[..., None].unbind(-2)
        up = torch.linspace(0, 1, rows, device=anchor.device) - start_y
        across = up * self.height / torch.tan(angle * math.pi + 1e-5) / (self.width - 1)
        return (start_x + across).clamp(-_FARTHEST, _FARTHEST)

    def _kept(self, scores: np.ndarray, starts: np.ndarray, lengths: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """Priors of one image that stay, the most confident first; all that are confident enough without NMS."""
        (priors,) = np.nonzero(scores >= np.float32(self.threshold))
        if self.nms_distance is None:
            return priors[np.argsort(-scores[priors], kind="stable")]
        xs = xs[priors] * np.float32(self.width - 1)
        return priors[line_nms(scores[priors], starts[priors], lengths[priors], xs, self.nms_distance, self.max_lanes)]

    def _visible(self, xs: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Flags (K, R) of the rows that belong to a lane; beyond the left border there is nothing to see."""
        return rows_of_lanes(xs, first, last) & (xs >= 0)

    def _in_pixels(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points (P, 2) as shares of what the network sees, in pixels of the original image (height, width)."""
        height, width = size
        cut = rows_cut(height, self.crop_top, self.crop_height)
        edge = int(self.last_pixel)
        return points * (width - edge, height - cut - edge) + (0, cut)


@TASK_UTILS.register_module()
class CLRerNetAdapter(CLRNetAdapter):
    """Heads and decoding of CLRerNet, whose classes stay as they are.

    Its head gives the parts of a prediction by name, counts starts from the top, and its metric takes lanes as functions.
    The defaults are its own for CULane.

    Args:
        input_size: As `CLRNetAdapter`.
        threshold: As `CLRNetAdapter`.
        nms_distance: As `CLRNetAdapter`.
        max_lanes: As `CLRNetAdapter`.
        crop_top: As `CLRNetAdapter`.
        crop_height: As `CLRNetAdapter`.
        last_pixel: As `CLRNetAdapter`.

    Source:
        Honda and Uchida, "CLRerNet: Improving Confidence of Lane Detection with LaneIoU", 2024.
    """

    def __init__(
        self,
        input_size: tuple[int, int] = (320, 800),
        threshold: float = 0.41,
        nms_distance: float | None = 50.0,
        max_lanes: int | None = 4,
        crop_top: int = 270,
        crop_height: int = 590,
        last_pixel: bool = False,
    ) -> None:
        super().__init__(input_size, threshold, nms_distance, max_lanes, crop_top, crop_height, last_pixel)

    def run(self, detector: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """What the head gives in its last refinement stage."""
        return dict(detector.bbox_head(detector.extract_feat(images))[-1])

    def complete(self, samples: list) -> list:
        """``img_path``, which its samples call ``filename``."""
        for sample in samples:
            if "img_path" not in sample:
                sample.set_metainfo(dict(img_path=sample.filename))
        return samples

    def own_form(self, samples: list) -> list[dict]:
        """For each image ``lanes`` as functions, ``scores`` and ``metainfo``; besides, what mmsf's own tools read."""
        return [
            dict(
                lanes=[LaneFunction(line, sample.ori_shape[:2]) for line in sample.pred_instances.lines],
                scores=torch.from_numpy(sample.pred_instances.scores),
                metainfo=sample.metainfo,
                pred_instances=dict(lines=sample.pred_instances.lines),
                ori_shape=sample.ori_shape,
                img_path=sample.img_path,
            )
            for sample in samples
        ]

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Split ``cls_logits`` (B, N, 2), ``anchor_params`` (B, N, 3), ``lengths`` (B, N, 1) and ``xs`` (B, N, R)."""
        start_y, start_x, angle = raw["anchor_params"].split(1, -1)
        return self._heads(raw["cls_logits"], torch.cat((1 - start_y, start_x, angle), -1), raw["lengths"], raw["xs"])

    def _visible(self, xs: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Flags (K, R) of the rows that belong to a lane, also beyond the borders."""
        return rows_of_lanes(xs, first, last)


class LaneFunction:
    """A lane as a function of y: both as shares of the image, x = -2 where there is no lane.

    Args:
        points: (P, 2) x and y in pixels of the image, y ascending.
        size: (height, width) of the image, pixels.

    Attributes:
        points: (P, 2) as shares of the image.
    """

    def __init__(self, points: np.ndarray, size: tuple[int, int]) -> None:
        self.points = points / (size[1], size[0])
        x, y = self.points.T
        self._spline = InterpolatedUnivariateSpline(y, x, k=min(3, len(x) - 1))

    def __call__(self, ys: np.ndarray) -> np.ndarray:
        """x at each of ``ys``."""
        y = self.points[:, 1]
        inside = (ys >= y.min() - _BEYOND) & (ys <= y.max() + _BEYOND)
        return np.where(inside, self._spline(ys), -2.0)
