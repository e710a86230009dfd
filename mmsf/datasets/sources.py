"""What a detector is shown: images, folders of images, videos, images in memory."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log

from mmsf.datasets.images import ENDINGS, CorruptImageError, find_corrupt, find_images, read_image
from mmsf.errors import UserError

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
# Frames a second of a video that does not say.
_USUAL_RATE = 25.0
# What is wrong with a video is said here, not by FFmpeg, which reads this when it is first used, nor by OpenCV.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class SourceFrame(NamedTuple):
    """One image of a source.

    Attributes:
        source: Where it comes from.
        name: What names it in outputs, with an image's ending: ``clip/00000.jpg``.
        image: (H, W, 3) uint8, blue, green, red.
    """

    source: "Picture | Video | Decoded"
    name: str
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file.

    Attributes:
        path: The file.
        name: Its path below the folder that was given, or its file name.
    """

    count: ClassVar[int] = 1
    path: Path
    name: str

    def frames(self) -> Iterator[SourceFrame]:
        """The image."""
        yield SourceFrame(self, self.name, read_image(self.path))


@dataclass(frozen=True, eq=False)
class Video:
    """A video file; its frames are named after it and counted from 0: ``clip.mp4/00000.jpg``.

    Attributes:
        path: The file.
        name: Its file name.
        rate: Frames a second.
        count: Number of frames as its header tells, which may be off; 0 where it does not tell.
    """

    path: Path
    name: str
    rate: float
    count: int

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, one at a time."""
        read = 0
        with _opened(self.path) as capture:
            while (image := _next(capture)) is not None:
                yield SourceFrame(self, f"{self.name}/{read:05d}.jpg", image)
                read += 1
        if read < self.count:
            message = f"{self.path}: {read} frames can be read, its header tells of {self.count}"
            print_log(message, logger="current", level=logging.WARNING)


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image in memory.

    Attributes:
        image: (H, W, 3) uint8, blue, green, red.
        name: What names it.
    """

    count: ClassVar[int] = 1
    image: np.ndarray
    name: str

    def frames(self) -> Iterator[SourceFrame]:
        """The image."""
        yield SourceFrame(self, self.name, self.image)


Source = Picture | Video | Decoded


def find_sources(inputs: Iterable[str | Path | np.ndarray]) -> list[Source]:
    """What inputs hold, after a look at every file: nothing that cannot be read is found out later.

    Args:
        inputs: Image files, folders of images, video files, or images (H, W, 3) uint8 in memory.

    Returns:
        The sources, in the order given; a folder's images are sorted.

    Raises:
        UserError: An input is missing, empty, truncated or nothing of these.
    """
    sources: list[Source] = []
    for number, given in enumerate(inputs):
        if isinstance(given, np.ndarray):
            sources.append(_decoded(given, f"{number:05d}.jpg"))
            continue
        path = Path(given)
        ending = path.suffix.lower()
        if path.is_dir():
            sources += [Picture(image, image.relative_to(path).as_posix()) for image in find_images(path)]
        elif not path.exists():
            raise UserError(f"{path} does not exist; give images, folders of images, or videos")
        elif ending in ENDINGS:
            sources.append(Picture(path, path.name))
        elif ending in VIDEO_ENDINGS:
            sources.append(_video(path))
        else:
            raise UserError(f"{path} is no image ({', '.join(ENDINGS)}) and no video ({', '.join(VIDEO_ENDINGS)})")
    if not sources:
        raise UserError("there is no input; give images, folders of images, or videos")
    if corrupt := find_corrupt([source.path for source in sources if isinstance(source, Picture)]):
        raise CorruptImageError(f"{corrupt[0]} is truncated or no image; replace it or take it out")
    return sources


def _decoded(image: np.ndarray, name: str) -> Decoded:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise UserError(f"an image in memory is {image.dtype} {image.shape}; give uint8 (H, W, 3), blue, green, red")
    return Decoded(image, name)


def _video(path: Path) -> Video:
    with _opened(path) as capture:
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if _next(capture) is None:
            raise UserError(f"{path} cannot be read as a video; it is damaged, or of a kind that OpenCV does not decode")
    return Video(path, path.name, rate if 0 < rate < np.inf else _USUAL_RATE, int(max(count, 0)))


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    level = cv2.setLogLevel(0)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    cv2.setLogLevel(level)
    try:
        yield capture
    finally:
        capture.release()


def _next(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame; None at the end."""
    good, image = capture.read()
    return image if good else None
