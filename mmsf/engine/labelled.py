"""Labelled training frames in an order, and with augmentations, that a resumed run meets again."""

import os
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmsf.engine.order import EndlessOrder
from mmsf.errors import UserError


def seed_of(*numbers: int) -> int:
    """A seed from what it depends on alone, such as a run's seed and a position; all are at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class EndlessFrames(Dataset):
    """A data set in an endless order; all chance of its pipeline is drawn anew for each position.

    Args:
        dataset: Training frames with their pipeline.
        seed: The run's.
    """

    def __init__(self, dataset: BaseDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._order = EndlessOrder(len(dataset), seed)

    def __getitem__(self, position: int) -> dict:
        state = seed_of(self.seed, position)
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002  pipelines of others draw from it
        torch.manual_seed(state)
        return self.dataset[self._order[position]]


class LabelledFrames:
    """The training split of a float config.

    Args:
        dataloader: The float config's ``train_dataloader``. Its sampler is replaced by `EndlessOrder`, which shuffles too.

    Raises:
        UserError: There is no frame, or there are no labels.
    """

    def __init__(self, dataloader: dict) -> None:
        settings = dict(dataloader)
        self.dataset: BaseDataset = DATASETS.build(settings.pop("dataset"))
        if not getattr(self.dataset, "labelled", True):
            raise UserError(f"training frames of {self.dataset.data_root} come without labels; this method needs them")
        if not len(self.dataset):
            raise UserError(f"there is no training frame in {self.dataset.data_root}")
        self._own_batch_size = settings.pop("batch_size")
        for replaced in ("sampler", "batch_sampler", "drop_last"):
            settings.pop(replaced, None)
        self._settings = settings

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def batch_size(self) -> int:
        """Frames of an iteration, those of all processes together."""
        return self._own_batch_size * get_world_size()

    @property
    def iterations_of_an_epoch(self) -> int:
        """Iterations in which every frame is met once."""
        return -(-len(self) // self.batch_size)

    def refuse(self, evaluation: BaseDataset) -> None:
        """Compare with the frames that evaluate.

        Raises:
            UserError: A frame is in both.
        """
        ours, theirs = ({os.path.realpath(path) for path in _paths(dataset)} for dataset in (self.dataset, evaluation))
        if both := ours & theirs:
            raise UserError(
                f"{len(both)} frames would train and evaluate, {min(both)} the first of them; give other folders"
            )

    def batches(self, first: int, end: int, seed: int) -> Iterator[dict]:
        """Batches of the iterations ``first`` to ``end - 1`` of a run with this seed, this process's part of each."""
        size = self._own_batch_size
        begins = [(iteration * get_world_size() + get_rank()) * size for iteration in range(first, end)]
        return iter(
            Runner.build_dataloader(
                {
                    **self._settings,
                    "dataset": EndlessFrames(self.dataset, seed),
                    "sampler": None,
                    "batch_sampler": [range(begin, begin + size) for begin in begins],
                },
                seed=seed,
            )
        )


def _paths(dataset: BaseDataset) -> Iterator[str]:
    return (dataset.get_data_info(index)["img_path"] for index in range(len(dataset)))
