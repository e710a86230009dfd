"""From a frame of a dataset to the network's input, and to what the runner passes on."""

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

from mmsf.datasets.images import read_image
from mmsf.errors import UserError
from mmsf.lanes.crop import rows_cut
from mmsf.registry import TRANSFORMS

_INTERPOLATIONS = {"cv2": cv2.INTER_LINEAR, "cv2_cubic": cv2.INTER_CUBIC}
BACKENDS = (*_INTERPOLATIONS, "pil")


def resize(image: np.ndarray, scale: tuple[int, int], backend: str) -> np.ndarray:
    """Resize an image as a model's original does.

    Args:
        image: (H, W, 3) uint8.
        scale: Width and height, pixels.
        backend: One of ``BACKENDS``. ``cv2``: bilinear between four neighbours, also when shrinking; ``cv2_cubic``: cubic
            between sixteen. ``pil``: bilinear over all pixels that fall into a new one.

    Returns:
        (height, width, 3) uint8.
    """
    if backend in _INTERPOLATIONS:
        return cv2.resize(image, scale, interpolation=_INTERPOLATIONS[backend])
    return np.asarray(Image.fromarray(image).resize(scale, Image.Resampling.BILINEAR))


@TRANSFORMS.register_module()
class LoadImage:
    """Read the frame, cut its top off, resize the rest, and move and scale the lanes with it.

    A frame that has ``img`` (uint8, blue, green, red) already, such as one of a video, is not read.

    Adds ``img`` (uint8, blue, green, red), ``ori_shape`` (before the cut), ``img_shape``, ``scale_factor`` (x, y) and, with
    labels, ``input_lines``: ``lines`` less the cut, times the scale factor, as the detectors' own decoding takes it.

    Args:
        scale: Width and height of the network's input, pixels; None keeps the image's size.
        backend: ``cv2``, ``cv2_cubic`` or ``pil``, see `resize`.
        crop_top: Rows cut off the top of an image that is ``crop_height`` high, pixels; off another image the same share.
        crop_height: Pixels; CULane's frames by default.
        cache: Keep every resized image in memory, which training on a small data set gains from. A data loader's worker
            process has a cache of its own; ``persistent_workers=True`` keeps it from one epoch to the next.

    Raises:
        UserError: The image is missing or truncated, or would be cut whole.
    """

    def __init__(
        self,
        scale: tuple[int, int] | None = None,
        backend: str = "cv2",
        crop_top: int = 0,
        crop_height: int = 590,
        cache: bool = False,
    ) -> None:
        if backend not in BACKENDS:
            raise UserError(f"backend={backend!r} is unknown; choose {', '.join(BACKENDS)}")
        if not 0 <= crop_top < crop_height:
            raise UserError(f"crop_top={crop_top} leaves nothing of an image that is {crop_height} high, or is negative")
        self.scale = None if scale is None else (int(scale[0]), int(scale[1]))
        self.backend = backend
        self.crop_top = crop_top
        self.crop_height = crop_height
        self.cache: dict[str, tuple[np.ndarray, tuple[int, int]]] | None = {} if cache else None

    def __call__(self, results: dict) -> dict:
        """Add the image to a frame."""
        if "img" in results:
            image, shape = self._seen(results["img"])
        else:
            image, shape = self._load(results["img_path"])
        results.update(img=image, ori_shape=shape, img_shape=image.shape[:2])
        cut = self._cut(shape)
        results["scale_factor"] = (image.shape[1] / shape[1], image.shape[0] / (shape[0] - cut))
        if "lines" in results:
            results["input_lines"] = [(np.asarray(line) - (0, cut)) * results["scale_factor"] for line in results["lines"]]
        return results

    def _load(self, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        if self.cache is not None and path in self.cache:
            return self.cache[path]
        loaded = self._seen(read_image(path))
        if self.cache is not None:
            loaded[0].setflags(write=False)
            self.cache[path] = loaded
        return loaded

    def _seen(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """What the network sees of an image, and the image's height and width."""
        below = image[self._cut(image.shape) :]
        return (below if self.scale is None else resize(below, self.scale, self.backend)), image.shape[:2]

    def _cut(self, shape: tuple[int, ...]) -> int:
        return rows_cut(shape[0], self.crop_top, self.crop_height)

    def __repr__(self) -> str:
        crop = f"crop_top={self.crop_top}, crop_height={self.crop_height}"
        return f"LoadImage(scale={self.scale}, backend={self.backend!r}, {crop}, cache={self.cache is not None})"


@TRANSFORMS.register_module()
class PackLaneInputs:
    """Make what the runner passes on: ``inputs`` (3, H, W) uint8 and ``data_samples``, a `DetDataSample`.

    ``gt_instances`` holds ``lines`` (pixels of the original image) and ``input_lines`` (pixels of the network's input); a
    frame without labels has none.
    """

    keys = (
        "img_path",
        "relative_path",
        "sample_idx",
        "ori_shape",
        "img_shape",
        "scale_factor",
        "category",
        "h_samples",
    )

    def __call__(self, results: dict) -> dict:
        """Pack one frame."""
        sample = DetDataSample(metainfo={key: results[key] for key in self.keys if key in results})
        if "lines" in results:
            lines = [np.asarray(line, np.float64) for line in results["lines"]]
            sample.gt_instances = InstanceData(lines=lines, input_lines=results["input_lines"])
        inputs = torch.from_numpy(np.ascontiguousarray(results["img"].transpose(2, 0, 1)))
        return {"inputs": inputs, "data_samples": sample}

    def __repr__(self) -> str:
        return "PackLaneInputs()"
