"""Small lane detectors of families that mmsf does not know, each written in another manner."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

SIZE = (32, 64)  # height, width of the networks' input, pixels


def backbone(channels: int = 8) -> nn.Sequential:
    """Stride 8."""
    widths = (3, channels, channels, channels)
    stages = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*stages)


@MODELS.register_module()
class Queries(BaseModel):
    """DETR's kind: everything inline in ``forward``; intermediate stages are returned along."""

    def __init__(self, queries: int = 5, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = backbone()
        self.queries = nn.Embedding(queries, 8)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2)
        self.classes, self.curves = nn.Linear(8, 2), nn.Linear(8, 4)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        memory = self.backbone(inputs).flatten(2).transpose(1, 2)
        queries = self.queries.weight.unsqueeze(0).expand(len(inputs), -1, -1)
        stages = []
        for layer in self.decoder.layers:
            queries = layer(queries, memory)
            stages.append(queries)
        hidden = torch.stack(stages)  # (stages, B, Q, C)
        logits, curves = self.classes(hidden), self.curves(hidden)
        if mode == "tensor":
            return {"logits": logits, "curves": curves}
        scores = logits[-1].softmax(-1)[..., 1]
        rows = torch.linspace(0.4, 1, 10, device=inputs.device)
        a, b, c, d = curves[-1].unsqueeze(-1).unbind(2)
        x = 0.5 + 0.3 * (a + b * rows + c * rows**2 + d * rows**3).tanh()
        for image, sample in enumerate(data_samples):
            height, width = sample.ori_shape[:2]
            keep = (scores[image] > 0.5).nonzero().flatten().tolist()
            lines = [np.stack(((x[image, q] * width).numpy(), (rows * height).numpy()), 1) for q in keep]
            sample.pred_instances = InstanceData(lines=lines, scores=scores[image, keep].numpy())
        return data_samples


@MODELS.register_module()
class Keypoints(BaseModel):
    """A heatmap and offsets in a tuple; ``predict`` computes them again, but not what is for training; lanes in a dict."""

    def __init__(self, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = backbone()
        self.heat, self.offset = nn.Conv2d(8, 1, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.auxiliary = nn.Conv2d(8, 1, 3, padding=1)

    def heads(self, images: Tensor, all_of_them: bool = False) -> tuple[Tensor, ...]:
        features = self.backbone(images)
        auxiliary = (self.auxiliary(features),) if all_of_them else ()
        return self.heat(features), self.offset(features), *auxiliary

    def predict(self, images: Tensor, data_samples: list) -> list[dict]:
        heat, offset = self.heads(images)
        heat = heat.sigmoid_()
        found = []
        for scores, moves, sample in zip(heat[:, 0], offset, data_samples):
            lanes = []
            for column in range(scores.shape[1]):
                rows = (scores[:, column] > 0.5).nonzero().flatten()
                if len(rows) > 1:
                    x, y = column + moves[0, rows, column], rows + moves[1, rows, column]
                    lanes.append((torch.stack((x, y), 1) * 8).tolist())
            found.append({"lanes": lanes, "metainfo": sample.metainfo})
        return found

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        return self.heads(inputs, True) if mode == "tensor" else self.predict(inputs, data_samples)


class CallableLane:
    """x of y, both as shares of the image; -2 where there is no lane."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def __call__(self, y: np.ndarray) -> np.ndarray:
        return np.interp(y, self.y, self.x, left=-2, right=-2)


class RowHead(nn.Module):
    """Row classification as a module of its own, that decodes too."""

    def __init__(self, cells: int = 12, rows: int = 6, lanes: int = 3) -> None:
        super().__init__()
        self.shape = (cells + 1, rows, lanes)
        self.squeeze, self.linear = nn.Conv2d(8, 2, 1), nn.Linear(2 * 4 * 8, (cells + 1) * rows * lanes)
        self.exist = nn.Linear(2 * 4 * 8, lanes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.squeeze(features).flatten(1)
        return self.linear(flat).view(-1, *self.shape), self.exist(flat)

    def predict(self, features: Tensor, samples: list) -> list:
        grid, exist = self(features)
        x = (grid[:, :-1].softmax(1) * torch.arange(12.0).view(1, -1, 1, 1)).sum(1) / 12
        seen = grid.argmax(1) < 12
        for image, sample in enumerate(samples):
            rows = np.linspace(0.3, 1, 6)
            lanes = [
                CallableLane(x[image, keep, lane].numpy(), rows[keep.numpy()])
                for lane, keep in enumerate(seen[image].unbind(1))
                if keep.sum() > 1 and exist[image, lane] > 0
            ]
            sample.pred_lanes = lanes
        return samples


@MODELS.register_module()
class Rows(BaseModel):
    """mmdet's manner: ``extract_feat``, and a head with ``forward`` and ``predict``."""

    def __init__(self, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone, self.head = backbone(), RowHead()

    def extract_feat(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        features = self.extract_feat(inputs)
        return self.head(features) if mode == "tensor" else self.head.predict(features, data_samples)


@MODELS.register_module()
class Anchors(BaseModel):
    """One tensor: two classes, a start, a length and eight x of every anchor. ``predict`` calls ``forward``."""

    def __init__(self, anchors: int = 8, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = backbone()
        self.register_buffer("anchors", torch.linspace(4, 60, anchors)[:, None].expand(-1, 8).clone())
        self.linear = nn.Linear(8 * 4, 2 + 2 + 8)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        if mode == "predict":
            return self.predict(inputs, data_samples)
        columns = self.backbone(inputs).permute(0, 3, 1, 2).flatten(2)  # (B, N, features)
        out = self.linear(columns)
        result = torch.zeros(len(inputs), len(self.anchors), 12, device=inputs.device)
        result[..., :4] = out[..., :4]
        result[..., 4:] = out[..., 4:] + self.anchors
        return result

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        output = self.forward(inputs)
        for proposals, sample in zip(output, data_samples):
            keep = proposals[:, :2].softmax(1)[:, 1] > 0.4
            lanes = [
                torch.stack((p[4:], torch.linspace(31, 8, 8)), 1)[: 3 + int(p[3].sigmoid() * 5)] for p in proposals[keep]
            ]
            sample.pred_instances = InstanceData(lanes=lanes, scores=proposals[keep, :2].softmax(1)[:, 1])
        return data_samples


@dataclass
class Levels:
    """Raw outputs of two levels."""

    scores: list[Tensor]
    boxes: list[Tensor]


@MODELS.register_module()
class Pyramid(BaseModel):
    """Two levels with two anchors a cell, (B, 2, H, W) and (B, 2 * 3, H, W), in an object."""

    def __init__(self, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.backbone = backbone()
        self.score, self.box = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 6, 1)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        fine = self.backbone(inputs)
        levels = (fine, F.avg_pool2d(fine, 2))
        raw = Levels([self.score(level) for level in levels], [self.box(level) for level in levels])
        if mode == "tensor":
            return raw
        found = []
        for image in range(len(inputs)):
            lanes, scores = [], []
            for score, box in zip(raw.scores, raw.boxes):
                stride = SIZE[1] / score.shape[-1]
                for anchor, row, column in (score[image].sigmoid() > 0.5).nonzero().tolist():
                    x, slope, length = box[image, 3 * anchor : 3 * anchor + 3, row, column].tolist()
                    y = np.linspace(0, 1, 5) * (8 + abs(length))
                    lanes.append(np.stack(((column + x) * stride + slope * y, row * stride + y), 1))
                    scores.append(float(score[image, anchor, row, column].sigmoid()))
            found.append({"lanes": lanes, "scores": scores})
        return found


@METRICS.register_module()
class CountedLanes(BaseMetric):
    """Reads what the detector predicts in its own form."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results += [len(sample[self.place]) for sample in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return {"lanes": sum(results)}


DETECTORS = {
    "queries": (
        Queries,
        dict(
            confidences=dict(lane=dict(output="logits.-1", activation="softmax", index=1)), semantics=dict(curve="curves.-1")
        ),
    ),
    "keypoints": (Keypoints, dict(confidences=dict(point="0"), semantics=dict(offset="1"), coordinates="input")),
    "rows": (
        Rows,
        dict(
            confidences=dict(seen=dict(output="0", activation="softmax", background=-1), exist="1"),
            semantics=dict(column=dict(output="0", gate="seen")),
            lanes="pred_lanes",
        ),
    ),
    "anchors": (
        Anchors,
        dict(
            confidences=dict(lane=dict(output="output", channels=(0, 2), activation="softmax", index=1)),
            semantics=dict(
                extent=dict(output="output", channels=(2, 4)),
                offsets=dict(output="output", channels=(4, None)),
            ),
            coordinates="input",
        ),
    ),
    "pyramid": (
        Pyramid,
        dict(
            confidences=dict(lane=dict(output="scores.*", anchors=2)),
            semantics=dict(
                place=dict(output="boxes.*", anchors=2, channels=(0, 2)),
                length=dict(output="boxes.*", anchors=2, channels=2),
            ),
            coordinates="input",
        ),
    ),
}
