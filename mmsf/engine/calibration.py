"""Calibration frames, loaded once and kept as the pipeline gives them (uint8, network size), in memory or in a file."""

from collections.abc import Iterator

from mmdet.structures import DetDataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mmsf.engine.order import EndlessOrder
from mmsf.engine.processes import own_part, shared_out
from mmsf.errors import UserError
from mmsf.reconstruction import TensorMemory


class CalibrationFrames:
    """N frames.

    Args:
        images: (N, 3, H, W) as the pipeline gives them.
        samples: N samples; each gets its place as ``calibration_index``.
        batch_size: Frames of a tuning batch, those of all processes together.

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
    def collect(cls, dataloader: DataLoader, memory: TensorMemory) -> "CalibrationFrames":
        """Load every frame of a dataloader, in its dataset's order; several processes share the loading.

        Args:
            dataloader: The dataloader.
            memory: Where images are kept.

        Raises:
            UserError: There is no frame, or the network input is not of one size.
        """
        dataset, samples = dataloader.dataset, []
        images: Tensor | None = None
        for index, item in enumerate(shared_out(dataset.__getitem__, range(len(dataset)))):
            image = item["inputs"]
            if images is None:
                images = memory.empty((len(dataset), *image.shape), image.dtype)
            if image.shape != images.shape[1:]:
                raise UserError("calibration frames reach the network in several sizes; resize them in the pipeline")
            images[index] = image
            samples.append(item["data_samples"])
        if images is None:
            raise UserError("there is no calibration frame; give a folder with images")
        return cls(images, samples, dataloader.batch_size)

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, index: list[int]) -> dict:
        """A data batch of the frames at ``index``."""
        return dict(inputs=self.images[index], data_samples=[self.samples[i] for i in index])

    def parts(self, index: list[int] | None = None) -> list[list[int]]:
        """All frames, or those at ``index``, in order, as the indices of batches."""
        index = list(range(len(self))) if index is None else index
        return [index[begin : begin + self.batch_size] for begin in range(0, len(index), self.batch_size)]

    def batches(self, index: list[int] | None = None) -> Iterator[dict]:
        """Batches of all frames, or of those at ``index``, in order."""
        return map(self.batch, self.parts(index))

    def tuning_batch(self, iteration: int, seed: int) -> dict:
        """This process's part of an iteration's mini-batch, a stretch of an endless row of seeded permutations.

        The whole batch depends on nothing but the arguments, so that a resumed run sees the same ones, and so do several
        processes together.
        """
        order = EndlessOrder(len(self.tuned), seed)
        positions = own_part(range(iteration * self.batch_size, (iteration + 1) * self.batch_size))
        return self.batch([self.tuned[order[position]] for position in positions])
