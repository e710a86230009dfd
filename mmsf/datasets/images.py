"""Reading images: whole ones only, and every one below a folder."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from mmsf.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_END_OF_IMAGE, _START_OF_SCAN = b"\xff\xd9", b"\xff\xda"
_PNG, _END_OF_PNG = b"\x89PNG\r\n", b"IEND"


class CorruptImageError(UserError):
    """A file that is no whole image."""


def _is_cut(content: bytes) -> bool:
    """Whether a JPEG or PNG ends early. Some decoders fill the missing part with grey and say nothing.

    After a JPEG's last start of scan an end-of-image marker must follow; inside a scan these two bytes never stand together.
    """
    if content.startswith(_PNG):
        return content.rfind(_END_OF_PNG) < 0
    return content.startswith(b"\xff\xd8") and content.rfind(_END_OF_IMAGE) < content.rfind(_START_OF_SCAN)


def read_image(path: str | Path, mode: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Read an image as OpenCV does, and make sure that it is whole.

    Args:
        path: The file.
        mode: How OpenCV shall decode it.

    Returns:
        (H, W, 3) uint8 blue, green, red.

    Raises:
        CorruptImageError: The file is cut short or no image.
        UserError: The file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {error.strerror}; check the data root and the list") from error
    image = None
    if content and not _is_cut(content):
        with suppress(cv2.error):  # sides of which OpenCV makes no image
            image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    if image is None:
        raise CorruptImageError(f"{path} is truncated or no image; replace it or take it out")
    return image


def is_whole(path: str | Path) -> bool:
    """Whether an image can be read to its end; faster than `read_image`, which says the same.

    Raises:
        UserError: The file cannot be read.
    """
    # A side under 8 pixels has no eighth.
    for mode in (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_COLOR):
        with suppress(CorruptImageError):
            read_image(path, mode)
            return True
    return False


def find_corrupt(paths: Sequence[str | Path]) -> list[str | Path]:
    """The images that are cut short or no images, in the order given.

    Raises:
        UserError: A file cannot be read.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        return [path for path, whole in zip(paths, pool.map(is_whole, paths)) if not whole]


def find_images(root: str | Path) -> list[Path]:
    """All images below a folder, sorted by their path, so the order does not depend on the file system.

    Args:
        root: The folder; its sub-folders are searched too, hidden files are not.

    Raises:
        UserError: There is no such folder, or no image in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"image folder {root} does not exist; give a folder of images")
    found = [path for path in root.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not found:
        raise UserError(f"no image in {root} (looked for {', '.join(ENDINGS)}); give a folder of images")
    return sorted(found, key=lambda path: path.relative_to(root).parts)
