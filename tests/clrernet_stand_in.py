"""A detector with CLRerNet's registered names and interfaces, and code of its own; imported as its users import ``libs``.

What CLRerNet's configs name is here: CLRerNet, DLANet, CLRerNetFPN, CLRerHead, CLRerNetAnchorGenerator, CulaneDataset,
albumentation (Alaug), PackCLRNetInputs and CULaneMetric, all in mmdet's registries. The network is small and its weights are
random; only what passes between the classes is as there.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models import SingleStageDetector
from mmdet.registry import DATASETS, METRICS, MODELS, TASK_UTILS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import nn

from mmsf.evaluation.culane_score import count_frames, total
from mmsf.lanes.culane import lines_path, read_lines

HEIGHT, WIDTH = 590, 1640


@MODELS.register_module()
class DLANet(BaseModule):
    def __init__(self, widths: tuple[int, ...] = (8, 8, 16, 16), init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        inputs = (3, *widths)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 4 if n == 0 else 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for n, (i, o) in enumerate(zip(inputs, widths))
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outs = []
        for level in self.levels:
            x = level(x)
            outs.append(x)
        return tuple(outs)


@MODELS.register_module()
class CLRerNetFPN(BaseModule):
    """Leaves the backbone's first level out."""

    def __init__(self, in_channels: list[int], out_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)

    def forward(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(conv(level) for conv, level in zip(self.convs, inputs[-len(self.convs) :]))


@TASK_UTILS.register_module()
class CLRerNetAnchorGenerator(nn.Module):
    """Anchors (y from the top, x, angle) as an embedding."""

    def __init__(self, num_priors: int, num_points: int = 72) -> None:
        super().__init__()
        self.prior_embeddings = nn.Embedding(num_priors, 3)
        xs = torch.linspace(0.1, 0.9, num_priors)
        self.prior_embeddings.weight.data = torch.stack((torch.ones(num_priors), xs, 0.2 + 0.6 * xs), 1)
        self.register_buffer("heights", torch.linspace(0, 1, num_points))

    def lines(self, anchors: torch.Tensor, aspect: float) -> torch.Tensor:
        y, x, angle = anchors[..., None].unbind(-2)
        return x + (self.heights - (1 - y)) * aspect / torch.tan(angle * torch.pi + 1e-5)


@MODELS.register_module()
class CLRerHead(BaseModule):
    def __init__(
        self,
        anchor_generator: dict,
        prior_feat_channels: int = 16,
        refine_layers: int = 3,
        img_w: int = 800,
        img_h: int = 320,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.anchor_generator = TASK_UTILS.build(anchor_generator)
        self.refine_layers, self.test_cfg = refine_layers, test_cfg
        self.aspect = img_h / (img_w - 1)
        self.gather = nn.Linear(prior_feat_channels * 9, 32)
        self.cls_layers, self.reg_layers = nn.Linear(32, 2), nn.Linear(32, 76)

    def forward(self, feats: tuple[torch.Tensor, ...]) -> list[dict[str, torch.Tensor]]:
        batch = feats[0].shape[0]
        anchors = self.anchor_generator.prior_embeddings.weight.expand(batch, -1, -1)
        stages = []
        for level in reversed(feats[-self.refine_layers :]):
            lines = self.anchor_generator.lines(anchors, self.aspect)
            x = lines[..., ::8]
            y = (1 - torch.linspace(0, 1, 9, device=x.device)).expand_as(x)
            sampled = F.grid_sample(level, torch.stack((x, y), -1) * 2 - 1, align_corners=True)
            features = F.relu(self.gather(sampled.permute(0, 2, 1, 3).flatten(2)))
            change = 0.02 * self.reg_layers(features)
            anchors = anchors + change[..., :3]
            stages.append(
                dict(
                    cls_logits=self.cls_layers(features),
                    anchor_params=anchors,
                    lengths=0.6 + change[..., 3:4],
                    xs=self.anchor_generator.lines(anchors, self.aspect) + change[..., 4:],
                )
            )
            anchors = anchors.detach()
        return stages

    def predict(self, feats: tuple[torch.Tensor, ...], batch_data_samples: list) -> list[dict]:
        raise RuntimeError("its line NMS is for CUDA alone")


@MODELS.register_module()
class CLRerNet(SingleStageDetector):
    """``predict`` gives a dict for each image, no sample."""

    def predict(self, img: torch.Tensor, data_samples: list, **kwargs) -> list[dict]:
        return self.bbox_head.predict(self.extract_feat(img), data_samples)


@DATASETS.register_module()
class CulaneDataset(torch.utils.data.Dataset):
    """A plain PyTorch dataset, none of MMEngine's."""

    metainfo: dict = {}  # noqa: RUF012  as its users have it

    def __init__(
        self,
        data_root: str,
        data_list: str,
        pipeline: list[dict],
        diff_file: str | None = None,
        diff_thr: float = 15,
        test_mode: bool = True,
        y_step: int = 2,
    ) -> None:
        self.root, self.test_mode = Path(data_root), test_mode
        self.names = [line.strip().lstrip("/") for line in Path(data_list).read_text().splitlines()]
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict:
        if not self.test_mode:
            raise RuntimeError("labels for training are not part of the stand-in")
        name = self.names[index]
        image = cv2.imread(str(self.root / name))
        shape = image.shape
        frame = dict(filename=str(self.root / name), sub_img_name=name, img=image, img_shape=shape, ori_shape=shape)
        return self.pipeline(dict(frame, gt_points=[], id_classes=[], id_instances=[]))


@TRANSFORMS.register_module(name=["Alaug", "albumentation"])
class Alaug:
    def __init__(self, pipelines: list[dict]) -> None:
        self.steps = [dict(step) for step in pipelines]

    def __call__(self, results: dict) -> dict:
        for step in self.steps:
            if step["type"] == "Crop":
                results["img"] = results["img"][step["y_min"] : step["y_max"], step["x_min"] : step["x_max"]]
            elif step["type"] == "Resize":
                results["img"] = cv2.resize(results["img"], (step["width"], step["height"]))
        results["img_shape"] = results["img"].shape
        return results


@TRANSFORMS.register_module()
class PackCLRNetInputs:
    def __init__(
        self, meta_keys: list[str], max_lanes: int = 4, num_points: int = 72, img_w: int = 800, img_h: int = 320
    ) -> None:
        self.meta_keys = meta_keys

    def __call__(self, results: dict) -> dict:
        sample = DetDataSample(gt_instances=InstanceData(), metainfo={key: results[key] for key in self.meta_keys})
        image = torch.from_numpy(np.ascontiguousarray(results["img"].transpose(2, 0, 1)))
        return dict(inputs=image, data_samples=sample)


def _on_onedl() -> bool:
    try:
        version("onedl-mmdetection")
    except PackageNotFoundError:
        return False
    return True


# onedl-mmdetection has a metric of this name, so CLRerNet's own cannot be registered beside it.
METRIC_NAME = "CLRerNetCULaneMetric" if _on_onedl() else "CULaneMetric"


@METRICS.register_module(name=METRIC_NAME)
class CULaneMetric(BaseMetric):
    """Reads lanes as functions, and knows frames by their names."""

    def __init__(self, data_root: str, data_list: str, y_step: int = 2) -> None:
        super().__init__()
        self.root = Path(data_root)
        self.names = {line.strip().lstrip("/") for line in Path(data_list).read_text().splitlines()}
        self.ys = np.arange(0, HEIGHT, y_step) / HEIGHT

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for result in data_samples:
            name = result["metainfo"]["sub_img_name"]
            assert name in self.names
            lanes = []
            for lane in result["lanes"]:
                xs = lane(self.ys)
                seen = (xs >= 0) & (xs < 1)
                lanes.append(np.stack((xs[seen] * WIDTH, self.ys[seen] * HEIGHT), 1))
            self.results.append((name, [lane for lane in lanes if len(lane) > 1]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        labelled = [read_lines(lines_path(str(self.root), name)) for name, _ in results]
        counts = total(count_frames(labelled, [lanes for _, lanes in results]))
        return {"TP0.5": counts.tp, "FP0.5": counts.fp, "FN0.5": counts.fn, "F1_0.5": counts.f1}
