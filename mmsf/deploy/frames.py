"""A few frames of a config, as the network gets them."""

from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import Tensor, nn

from mmsf.engine.building import build
from mmsf.errors import UserError
from mmsf.registry import DATASETS


@dataclass
class Frames:
    """Preprocessed images (N, 3, H, W) and their samples."""

    images: Tensor
    samples: list[DetDataSample]

    @property
    def metas(self) -> list[dict]:
        """Metainfo of each."""
        return [sample.metainfo for sample in self.samples]


def read_frames(cfg: Config, count: int, preprocessor: nn.Module) -> Frames:
    """Frames of the config's test data, spread evenly over it.

    Args:
        cfg: The config.
        count: How many; fewer where there are fewer.
        preprocessor: The model's data preprocessor.

    Raises:
        UserError: There is none, or ``count`` is not positive.
    """
    if count < 1:
        raise UserError(f"parity needs one frame at least; got {count}")
    dataset = build(DATASETS, cfg.test_dataloader.dataset, "test_dataloader.dataset")
    if len(dataset) == 0:
        raise UserError("the config's test data has no frame; give --data-root")
    index = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    items = [dataset[int(i)] for i in index]
    batch = dict(inputs=[item["inputs"] for item in items], data_samples=[item["data_samples"] for item in items])
    with torch.no_grad():
        batch = preprocessor(batch)
    return Frames(batch["inputs"], batch["data_samples"])
