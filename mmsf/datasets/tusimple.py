"""TuSimple: frames and labels from JSON files."""

from collections.abc import Callable, Sequence
from typing import Any

from mmsf.datasets.base import LaneDataset
from mmsf.errors import UserError
from mmsf.lanes.tusimple import read_frames
from mmsf.registry import DATASETS


@DATASETS.register_module()
class TuSimpleDataset(LaneDataset):
    """TuSimple, or anything in its layout.

    A sample holds ``relative_path`` (the label's ``raw_file``), ``h_samples`` (R,) and ``lines``: one (P, 2) array a
    labelled lane, with the rows that it reaches.

    Args:
        data_root: Folder of the data set.
        label_file: JSON file, one object a line, or several of them; relative to ``data_root``.
        pipeline: Transforms.
        **options: See `LaneDataset`.

    Raises:
        UserError: The data root or a label file is missing, malformed or empty.
    """

    def __init__(
        self,
        data_root: str,
        label_file: str | Sequence[str] = "label_data.json",
        pipeline: Sequence[dict | Callable] = (),
        **options: Any,
    ) -> None:
        self.label_files = [label_file] if isinstance(label_file, str) else list(label_file)
        super().__init__(data_root=data_root, pipeline=pipeline, **options)

    def find_frames(self) -> list[dict]:
        """All frames of the label files."""
        root = self.require_root()
        frames = []
        for name in self.label_files:
            for label in read_frames(root / name):
                path = label.raw_file.lstrip("/")
                frame = {"img_path": str(root / path), "relative_path": label.raw_file, "h_samples": label.h_samples}
                if self.labelled:
                    frame["lines"] = label.lines()
                frames.append(frame)
        if not frames:
            raise UserError(f"no frame in {', '.join(str(root / name) for name in self.label_files)}; give a label file")
        return frames
