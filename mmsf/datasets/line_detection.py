"""Samples as onedl-mmdetection's line detectors take them: its own names before its own packing."""

import cv2
import numpy as np

from mmsf.datasets.loading import PackLaneInputs
from mmsf.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ToLineDetection:
    """Give a frame the names that onedl-mmdetection's ``LinesToArray`` and ``PackLineDetectionInputs`` read.

    These are ``org_height`` and ``org_width`` and, with labels, ``org_lines`` (pixels of the original image) and ``lines``
    (pixels of the network's input), lists of (x, y). Lanes of fewer than two points are left out: its metric cannot hold
    them.

    Args:
        mask_width: Draw the lanes, so many pixels of the network's input thick, into ``gt_seg_map`` (H, W), 1 where a lane
            is, else 0: its loss wants it. None draws nothing.
    """

    def __init__(self, mask_width: int | None = None) -> None:
        self.mask_width = mask_width

    def __call__(self, results: dict) -> dict:
        """Name what a frame has."""
        results["img"] = np.require(results["img"], requirements=["C", "W"])  # a cached image may be read only
        results["org_height"], results["org_width"] = results["ori_shape"]
        if "lines" in results:
            original = [np.asarray(line, np.float64).reshape(-1, 2) for line in results["lines"]]
            seen = [np.asarray(line, np.float64) for line, whole in zip(results["input_lines"], original) if len(whole) > 1]
            results["org_lines"] = [line.tolist() for line in original if len(line) > 1]
            results["lines"] = [line.tolist() for line in seen]
            if self.mask_width is not None:
                results["gt_seg_map"] = self._mask(seen, results["img"].shape[:2])
        return results

    def _mask(self, lines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(shape, np.uint8)
        cv2.polylines(mask, [np.rint(line).astype(np.int32) for line in lines], False, 1, self.mask_width)
        return mask


@TRANSFORMS.register_module()
class PackAs:
    """Pack a frame with another project's transform, and keep what mmsf reads besides.

    Args:
        pack: Config of that transform; it returns ``inputs`` and ``data_samples``.
    """

    def __init__(self, pack: dict) -> None:
        self.pack = TRANSFORMS.build(pack)

    def __call__(self, results: dict) -> dict:
        """Pack one frame; the sample gets `PackLaneInputs`' metainfo."""
        packed = self.pack(results)
        packed["data_samples"].set_metainfo({key: results[key] for key in PackLaneInputs.keys if key in results})
        return packed
