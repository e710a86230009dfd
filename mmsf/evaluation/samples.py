"""What the metrics read from MMEngine's samples."""

from collections.abc import Sequence

import numpy as np

from mmsf.errors import UserError


def lines_of(sample: dict, instances: str) -> list[np.ndarray]:
    """The lanes of a sample, (P, 2) float64 each, pixels of the original image.

    Args:
        sample: A `DetDataSample` as a dict.
        instances: "gt_instances", "pred_instances" or "float_instances".

    Raises:
        UserError: The sample has none of these.
    """
    group = sample.get(instances)
    if group is None or "lines" not in group:
        what = {"gt_instances": "labels", "pred_instances": "predicted lanes", "float_instances": "lanes of the float model"}
        frame = sample.get("relative_path", sample.get("img_path", "a frame"))
        raise UserError(
            f"{frame} has no {what[instances]} ({instances}.lines), which this metric compares; choose another metric"
        )
    return [np.asarray(line, np.float64).reshape(-1, 2) for line in group["lines"]]


def frame_name(sample: dict) -> str | None:
    """What names a sample's frame in files: its path below the data set, else its path; None where it has neither."""
    return sample.get("relative_path") or sample.get("img_path")


def by_image_size(samples: Sequence[dict]) -> dict[tuple[int, int], list[int]]:
    """Indices of the samples by height and width of their original images, pixels.

    Raises:
        UserError: A sample does not say its image's size.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, sample in enumerate(samples):
        if "ori_shape" not in sample:
            raise UserError("a prediction has no ori_shape, the size of its image, which this metric needs; choose another")
        height, width = sample["ori_shape"][:2]
        groups.setdefault((int(height), int(width)), []).append(index)
    return groups
