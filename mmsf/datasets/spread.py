"""Some frames of any dataset."""

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mmsf.registry import DATASETS


@DATASETS.register_module()
class SpreadDataset(Dataset):
    """Frames of a dataset of any class, spread evenly over it.

    Args:
        dataset: Config of the dataset.
        count: How many frames; all if there are fewer.
    """

    def __init__(self, dataset: dict, count: int) -> None:
        self.dataset = DATASETS.build(dataset)
        size = len(self.dataset)
        self._chosen = np.linspace(0, size - 1, min(count, size)).round().astype(int).tolist()

    @property
    def metainfo(self) -> dict:
        """The dataset's."""
        return getattr(self.dataset, "metainfo", {})

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self._chosen[index]]
