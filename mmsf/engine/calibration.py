"""Calibration frames, loaded once and kept as the pipeline gives them (uint8, network size), in memory or in a file."""

import copy
from collections.abc import Iterator

import numpy as np
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mmsf.datasets.augmentation import another_version
from mmsf.engine.order import EndlessOrder
from mmsf.engine.processes import own_part, shared_out
from mmsf.errors import UserError
from mmsf.reconstruction import TensorMemory


class CalibrationFrames:
    """N frames, and for tuning other versions of them: mirrored, turned, and lit differently.

    Args:
        images: (V * N, 3, H, W) as the pipeline gives them: the frames, then a second version of each, and so on.
        samples: V * N samples; each gets its place as ``calibration_index``.
        batch_size: Frames of a tuning batch, those of all processes together.
        versions: V.

    Attributes:
        tuned: Places of the frames whose versions tuning batches are drawn from; all, unless some are held out.
    """

    def __init__(self, images: Tensor, samples: list[DetDataSample], batch_size: int, versions: int = 1) -> None:
        self.images, self.samples, self.versions = images, samples, versions
        self.batch_size = min(batch_size, len(samples))
        self.tuned = list(range(len(self)))
        for index, sample in enumerate(samples):
            sample.set_metainfo(dict(calibration_index=index))

    @classmethod
    def collect(cls, dataloader: DataLoader, memory: TensorMemory, at_least: int = 0, seed: int = 0) -> "CalibrationFrames":
        """Load every frame of a dataloader, in its dataset's order; several processes share the loading.

        Args:
            dataloader: The dataloader.
            memory: Where images are kept.
            at_least: Where there are fewer frames, as many versions of each are made as that takes.
            seed: Of the versions; what they look like depends on nothing but seed, frame and version.

        Raises:
            UserError: There is no frame, or the network input is not of one size.
        """
        dataset, samples = dataloader.dataset, []
        versions = max(1, -(-at_least // max(1, len(dataset))))

        def load(index: int) -> tuple[list[Tensor], DetDataSample]:
            item = dataset[index]
            generators = (np.random.default_rng([seed, index, version]) for version in range(1, versions))
            others = [another_version(item["inputs"], generator) for generator in generators]
            return [item["inputs"], *others], item["data_samples"]

        images: Tensor | None = None
        for index, (shown, sample) in enumerate(shared_out(load, range(len(dataset)))):
            if images is None:
                images = memory.empty((versions * len(dataset), *shown[0].shape), shown[0].dtype)
            if shown[0].shape != images.shape[1:]:
                raise UserError("calibration frames reach the network in several sizes; resize them in the pipeline")
            for version, image in enumerate(shown):
                images[version * len(dataset) + index] = image
            samples.append(sample)
        if images is None:
            raise UserError("there is no calibration frame; give a folder with images")
        samples += [copy.deepcopy(sample) for _ in range(1, versions) for sample in samples]
        return cls(images, samples, dataloader.batch_size, versions)

    def __len__(self) -> int:
        return len(self.samples) // self.versions

    @property
    def everything(self) -> list[int]:
        """Places of the frames and of all their versions."""
        return self.with_versions(list(range(len(self))))

    def batch(self, index: list[int]) -> dict:
        """A data batch of the frames at ``index``."""
        return dict(inputs=self.images[index], data_samples=[self.samples[i] for i in index])

    def with_versions(self, index: list[int]) -> list[int]:
        """Places of the frames at ``index``, then of their second versions, and so on."""
        return [version * len(self) + place for version in range(self.versions) for place in index]

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
        order = EndlessOrder(self.versions * len(self.tuned), seed)
        positions = own_part(range(iteration * self.batch_size, (iteration + 1) * self.batch_size))
        drawn = (divmod(order[position], len(self.tuned)) for position in positions)
        return self.batch([version * len(self) + self.tuned[number] for version, number in drawn])
