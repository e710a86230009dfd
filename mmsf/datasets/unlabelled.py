"""Plain folders of images, and what calibration sees: images, as a rule without labels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmsf.datasets.base import LaneDataset
from mmsf.datasets.images import find_images
from mmsf.errors import UserError
from mmsf.lanes.culane import read_lines
from mmsf.registry import DATASETS


@DATASETS.register_module()
class ImageFolderDataset(LaneDataset):
    """All images below one or several folders, of any size. Truncated ones are skipped unless ``corrupt="refuse"``.

    Args:
        data_root: A folder, or several; ``relative_path`` is relative to the image's own.
        pipeline: Transforms.
        corrupt: See `LaneDataset`.
        **options: See `LaneDataset`.

    Raises:
        UserError: A folder is missing or holds no image.
    """

    def __init__(
        self,
        data_root: str | Sequence[str],
        pipeline: Sequence[dict | Callable] = (),
        corrupt: str = "skip",
        **options: Any,
    ) -> None:
        self.roots = [data_root] if isinstance(data_root, str) else [str(root) for root in data_root]
        if not self.roots:
            raise UserError("no image folder was given; give at least one")
        options["labelled"] = False  # `CalibrationDataset` gives it too
        super().__init__(data_root=", ".join(self.roots), pipeline=pipeline, corrupt=corrupt, **options)

    def find_frames(self) -> list[dict]:
        """The images, folder by folder, sorted inside each."""
        return [
            {"img_path": str(path), "relative_path": path.relative_to(root).as_posix()}
            for root in self.roots
            for path in find_images(root)
        ]


@DATASETS.register_module()
class CalibrationDataset(LaneDataset):
    """What calibration sees: the images of other datasets, without their labels unless asked for, one after the other.

    ``sample_idx`` counts through all of them, so it names an image. (MMEngine's `ConcatDataset` starts again at 0 in each.)

    Args:
        datasets: Configs of datasets of `LaneDataset`'s kind; their labels are not even read.
        calibration_root: Further folders of images, or a single one.
        exclude: Configs of the datasets that evaluate: none of their images is taken, wherever it was found.
        pipeline: Transforms for all.
        labelled: Read the lanes of every image, from a ``.lines.txt`` beside it in CULane's format. Quantization needs no
            labels; masks from labels (``model.label_focus``) do.
        corrupt: See `LaneDataset`.
        **options: See `LaneDataset`; ``frames`` and ``count`` choose from all images together.

    Raises:
        UserError: There is no image, or one without the labels that were asked for.
    """

    def __init__(
        self,
        datasets: Sequence[dict] = (),
        calibration_root: str | Sequence[str] = (),
        exclude: Sequence[dict] = (),
        pipeline: Sequence[dict | Callable] = (),
        labelled: bool = False,
        corrupt: str = "skip",
        **options: Any,
    ) -> None:
        self.datasets, self.exclude = list(datasets), list(exclude)
        self.roots = [calibration_root] if isinstance(calibration_root, str) else [str(root) for root in calibration_root]
        super().__init__(pipeline=pipeline, corrupt=corrupt, labelled=labelled, **options)

    def find_frames(self) -> list[dict]:
        """The frames of all datasets and folders, each file once, without those that evaluate."""
        frames = _frames_of(self.datasets)
        if self.roots:
            frames += ImageFolderDataset(self.roots, lazy_init=True).load_data_list()
        if not frames:
            raise UserError("there is no image to calibrate with; set data_root or calibration_root")
        # A folder may be given twice, lie in another one or be linked: a file counts once, where it is met first.
        files: dict[str, dict] = {}
        for frame in frames:
            files.setdefault(os.path.realpath(frame["img_path"]), frame)
        if len(files) < len(frames):
            print_log(f"took {len(frames) - len(files)} calibration images once that were given again", logger="current")
        evaluation = {os.path.realpath(frame["img_path"]) for frame in _frames_of(self.exclude)}
        kept = [frame for file, frame in files.items() if file not in evaluation]
        if not kept:
            raise UserError(
                f"all {len(files)} images to calibrate with are evaluation frames; give others as calibration_root"
            )
        if len(kept) < len(files):
            print_log(f"left {len(files) - len(kept)} evaluation frames out of the calibration images", logger="current")
        return kept

    def read_labels(self, frames: list[dict]) -> None:
        """Read the ``.lines.txt`` beside every image."""
        for frame in frames:
            path = Path(frame["img_path"]).with_suffix(".lines.txt")
            if not path.is_file():
                raise UserError(f"{path} is missing; labelled=True needs labels beside every image to calibrate with")
            frame["lines"] = read_lines(path)


def _frames_of(configs: list[dict]) -> list[dict]:
    """The frames of datasets, without labels."""
    frames = []
    for config in configs:
        dataset = DATASETS.build(dict(config, labelled=False, pipeline=[], lazy_init=True))
        frames += dataset.load_data_list()
    return frames
