"""Annotated videos."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from mmsf.errors import UserError
from mmsf.files import whole_or_absent


@contextmanager
def video_file(path: str | Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an MP4 file (MPEG-4 video), whole or not at all.

    Args:
        path: Where it shall stand; it ends in ``.mp4``.
        rate: Frames a second.

    Yields:
        What takes the frames, one at a time: (H, W, 3) uint8, BGR, all of one size, the first one's.

    Raises:
        UserError: OpenCV cannot write such a video.
    """
    writer: cv2.VideoWriter | None = None
    with whole_or_absent(path) as temporary:

        def write(image: np.ndarray) -> None:
            nonlocal writer
            if writer is None:
                size = image.shape[1], image.shape[0]
                writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise UserError(f"cannot write {path}: this OpenCV writes no MP4 video; leave the overlays out")
            writer.write(image)

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
