"""CULane: frames from list files, labels beside the frames."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmsf.datasets.base import LaneDataset
from mmsf.datasets.images import ENDINGS
from mmsf.errors import UserError
from mmsf.lanes.culane import CATEGORIES, frame_path, lines_path, read_lines, read_list
from mmsf.registry import DATASETS


@DATASETS.register_module()
class CULaneDataset(LaneDataset):
    """CULane, or anything in its layout.

    A sample holds ``relative_path`` (the name in the list, without the leading slash), ``lines`` (every text line of the
    ``.lines.txt``, also an empty one) and, where the lists of the nine categories lie in ``list/test_split``, ``category``.

    Args:
        data_root: Folder of the data set.
        list_file: List of frames, relative to ``data_root``: ``list/test.txt``, or ``list/train_gt.txt`` with its further
            columns. None takes every ``.jpg`` below ``data_root`` that has a ``.lines.txt`` beside it, sorted.
        pipeline: Transforms.
        **options: See `LaneDataset`.

    Raises:
        UserError: The data root or the list is missing, the list is empty, or none of its frames has labels.
    """

    def __init__(
        self,
        data_root: str,
        list_file: str | None = "list/test.txt",
        pipeline: Sequence[dict | Callable] = (),
        **options: Any,
    ) -> None:
        self.list_file = list_file
        super().__init__(data_root=data_root, pipeline=pipeline, **options)

    def find_frames(self) -> list[dict]:
        """All frames of the list."""
        root = self.require_root()
        names = _labelled_images(root) if self.list_file is None else _listed(root, self.list_file)
        categories = _categories(root)
        frames = []
        for name in names:
            frame: dict[str, Any] = {"img_path": str(frame_path(root, name)), "relative_path": name}
            if name in categories:
                frame["category"] = categories[name]
            frames.append(frame)
        return frames

    def read_labels(self, frames: list[dict]) -> None:
        """Read the ``.lines.txt`` of every frame. As for the official evaluator, a frame without one has no lanes."""
        for frame in frames:
            frame["lines"] = read_lines(lines_path(self.data_root, frame["relative_path"]))
        first = lines_path(self.data_root, frames[0]["relative_path"])
        if not any(frame["lines"] for frame in frames) and not first.exists():
            paths = (lines_path(self.data_root, frame["relative_path"]) for frame in frames)
            if not any(path.exists() for path in paths):
                raise UserError(f"no frame of {self.data_root} has labels, {first} the first that is missing; add them")


def _listed(root: Path, list_file: str) -> list[str]:
    """Frame names of a list; the first column of ``train_gt.txt``, whose lines go on with a mask and four flags."""
    names = []
    for line in read_list(root / list_file):
        name, *further = line.split()
        names.append((name if further and name.lower().endswith(ENDINGS) else line).lstrip("/"))
    if not names:
        raise UserError(f"list file {root / list_file} is empty; give a list with one frame a line")
    return names


def _labelled_images(root: Path) -> list[str]:
    labels = sorted(root.rglob("*.lines.txt"))
    images = [path.with_name(path.name.removesuffix(".lines.txt") + ".jpg") for path in labels]
    names = [image.relative_to(root).as_posix() for image in images if image.is_file()]
    if not names:
        raise UserError(f"no .jpg with a .lines.txt beside it below {root}; set data_root or list_file")
    return names


def _categories(root: Path) -> dict[str, str]:
    """Category of every frame of the lists ``list/test_split/test<i>_<category>.txt`` that are there."""
    categories = {}
    for number, category in enumerate(CATEGORIES):
        path = root / "list" / "test_split" / f"test{number}_{category}.txt"
        if path.is_file():
            categories.update(dict.fromkeys((name.lstrip("/") for name in read_list(path)), category))
    return categories
