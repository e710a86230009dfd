"""Keeps the lanes that a validation run predicts."""

import numpy as np
from mmengine.evaluator import BaseMetric


class LaneRecorder(BaseMetric):
    """A metric without figures: it writes down every frame's lanes.

    Args:
        lanes: Filled with image path -> ``lines``, a list of (P, 2) arrays in pixels of the original image, ``size``, that
            image's (height, width), and ``labels``, lines as they are labelled, where they are.
    """

    default_prefix = "lanes"

    def __init__(self, lanes: dict[str, dict]) -> None:
        super().__init__()
        self.lanes = lanes

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        # Another project's samples may not say which image they are of: its metric alone judges these.
        for sample in (sample for sample in data_samples if "img_path" in sample):
            frame = {"lines": sample["pred_instances"]["lines"], "size": tuple(sample["ori_shape"][:2])}
            if "lines" in sample.get("gt_instances", {}):
                frame["labels"] = [np.asarray(line) for line in sample["gt_instances"]["lines"]]
            self.results.append((sample["img_path"], frame))

    def compute_metrics(self, results: list) -> dict:
        self.lanes.update(results)
        return {}
