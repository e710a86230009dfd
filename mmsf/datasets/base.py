"""What the datasets of lanes have in common."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmsf.datasets.images import find_corrupt
from mmsf.errors import UserError
from mmsf.registry import TRANSFORMS


class LaneDataset(BaseDataset):
    """Frames, with or without lane lines.

    The frames' order is fixed when the dataset is built, so ``sample_idx`` names a frame for good.

    Args:
        data_root: Folder of the data set.
        pipeline: Transforms, as configs or callables.
        frames: First and last frame to take, counted from 1, both included; None as the last one means up to the end.
        count: Take so many of these frames, spread evenly; all if there are fewer.
        labelled: Whether to read lane lines.
        corrupt: What to do with an image that is truncated: ``refuse`` raises an error that names it when it is loaded;
            ``skip`` looks at every frame when the dataset is built, reports the bad ones and leaves them out.
        test_mode: See MMEngine's `BaseDataset`.
        serialize_data: See MMEngine's `BaseDataset`.
        lazy_init: See MMEngine's `BaseDataset`.

    Raises:
        UserError: A setting means nothing.
    """

    def __init__(
        self,
        data_root: str = "",
        pipeline: Sequence[dict | Callable] = (),
        frames: tuple[int, int | None] | None = None,
        count: int | None = None,
        labelled: bool = True,
        corrupt: str = "refuse",
        test_mode: bool = False,
        serialize_data: bool = True,
        lazy_init: bool = False,
    ) -> None:
        if corrupt not in ("refuse", "skip"):
            raise UserError(f"corrupt={corrupt!r} is neither 'refuse' nor 'skip'")
        if count is not None and not _is_number(count):
            raise UserError(f"count={count!r} takes no frame; give a whole number, at least 1")
        if frames is not None and not _is_range(frames):
            raise UserError(f"frames={frames!r} is no range; give the first and the last frame, counted from 1")
        self.frames, self.count, self.labelled, self.corrupt = frames, count, labelled, corrupt
        pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(
            data_root=str(data_root),
            pipeline=pipeline,
            test_mode=test_mode,
            serialize_data=serialize_data,
            lazy_init=lazy_init,
        )

    @abstractmethod
    def find_frames(self) -> list[dict]:
        """All frames in order, each with at least ``img_path`` and ``relative_path``."""

    def read_labels(self, frames: list[dict]) -> None:
        """Add ``lines`` to the frames, in place; nothing to do where `find_frames` did it."""

    def load_data_list(self) -> list[dict]:
        """The frames that were asked for."""
        frames = self._select(self.find_frames())
        if self.labelled:
            self.read_labels(frames)
        return frames

    def filter_data(self) -> list[dict]:
        """Leave out truncated images where that was asked for."""
        return self.data_list if self.corrupt == "refuse" else drop_corrupt(self.data_list)

    def require_root(self) -> Path:
        """The data root.

        Raises:
            UserError: It does not exist.
        """
        root = Path(self.data_root)
        if not root.is_dir():
            raise UserError(f"data root {root} does not exist; set data_root to the folder of the data set")
        return root

    def _select(self, frames: list[dict]) -> list[dict]:
        if self.frames is not None:
            first, last = self.frames
            chosen = frames[first - 1 : last]
            if not chosen:
                raise UserError(f"frames={self.frames} takes none of the {len(frames)} frames of {self.data_root}")
            frames = chosen
        return frames if self.count is None else spread(frames, self.count)


def _is_number(value: object) -> bool:
    """Whether it is a whole number, counted from 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1


def _is_range(frames: object) -> bool:
    """Whether it is a first and a last frame; None is one without end."""
    if not isinstance(frames, list | tuple) or len(frames) != 2 or not _is_number(frames[0]):
        return False
    return frames[1] is None or (_is_number(frames[1]) and frames[1] >= frames[0])


def spread(frames: list[dict], count: int) -> list[dict]:
    """``count`` of the frames, spread evenly; all if there are fewer."""
    if count >= len(frames):
        return frames
    return [frames[index] for index in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def drop_corrupt(frames: list[dict]) -> list[dict]:
    """The frames whose images are whole; the others are reported in MMEngine's log.

    Raises:
        UserError: No frame is left, or an image is missing.
    """
    bad = find_corrupt([frame["img_path"] for frame in frames])
    damaged = set(bad)
    whole = [frame for frame in frames if frame["img_path"] not in damaged]
    for path in bad:
        print_log(f"skipped {path}: truncated or no image", logger="current", level=logging.WARNING)
    if bad and not whole:
        raise UserError(f"all {len(bad)} images are truncated or no images, {bad[0]} the first of them; replace them")
    return whole
