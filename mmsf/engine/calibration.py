"""Calibration frames, loaded once and kept as the pipeline gives them (uint8, network size)."""

from collections.abc import Iterator

import torch
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mmsf.engine.order import EndlessOrder
from mmsf.errors import UserError


class CalibrationFrames:
    """N frames in memory.

    Args:
        images: (N, 3, H, W) as the pipeline gives them.
        samples: N samples; each gets its place as ``calibration_index``.
        batch_size: Frames of a tuning batch.

    Attributes:
        tuned: Places of the frames that tuning batches are drawn from; all of them, unless some are held out.
    """

    def __init__(self, images: Tensor, samples: list[DetDataSample], batch_size: int) -> None:
        self.images, self.samples = images, samples
        self.batch_size = min(batch_size, len(samples))
        self.tuned = list(range(len(samples)))
        for index, sample in enumerate(samples):
            sample.set_metainfo(dict(calibration_index=index))

    @classmethod
    def collect(cls, dataloader: DataLoader) -> "CalibrationFrames":
        """Load every frame of a dataloader, in its dataset's order.

        Raises:
            UserError: There is no frame, or the network input is not of one size.
        """
        images, samples = [], []
        dataset = dataloader.dataset
        for index in range(len(dataset)):
            item = dataset[index]
            images.append(item["inputs"])
            samples.append(item["data_samples"])
        if not images:
            raise UserError("there is no calibration frame; give a folder with images")
        if len({image.shape for image in images}) > 1:
            raise UserError("calibration frames reach the network in several sizes; resize them in the pipeline")
        return cls(torch.stack(images), samples, dataloader.batch_size)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def number_of_batches(self) -> int:
        """Batches of one pass."""
        return -(-len(self) // self.batch_size)

    def batch(self, index: list[int]) -> dict:
        """A data batch of the frames at ``index``."""
        return dict(inputs=self.images[index], data_samples=[self.samples[i] for i in index])

    def batches(self, index: list[int] | None = None) -> Iterator[dict]:
        """All frames, or those at ``index``, in order."""
        index = list(range(len(self))) if index is None else index
        for begin in range(0, len(index), self.batch_size):
            yield self.batch(index[begin : begin + self.batch_size])

    def tuning_batch(self, iteration: int, seed: int) -> dict:
        """The mini-batch of an iteration: a stretch of an endless row of seeded permutations.

        It depends on nothing but its arguments, so that a resumed run sees the same batches.
        """
        order = EndlessOrder(len(self.tuned), seed)
        positions = range(iteration * self.batch_size, (iteration + 1) * self.batch_size)
        return self.batch([self.tuned[order[position]] for position in positions])
