"""Keeps the lanes that a validation run predicts."""

import numpy as np
from mmengine.evaluator import BaseMetric

from mmsf.adapters.base import Adapter


class LaneRecorder(BaseMetric):
    """A metric without figures: it writes down every frame's lanes.

    Args:
        lanes: Filled with image path -> ``lines``, a list of (P, 2) arrays in pixels of the original image, ``size``, that
            image's (height, width), and ``labels``, lines as they are labelled, where they are. Frames without a path in
            their metainfo are left out.
        adapter: Finds the lanes in a prediction.
    """

    default_prefix = "lanes"

    def __init__(self, lanes: dict[str, dict], adapter: Adapter) -> None:
        super().__init__()
        self.lanes, self.adapter = lanes, adapter

    def process(self, data_batch: dict, data_samples: list) -> None:
        for given, predicted in zip(self.adapter.complete(data_batch["data_samples"]), data_samples):
            meta, labels = given.metainfo, given.get("gt_instances", {})
            if "img_path" not in meta:
                continue
            lines = [lane.points for lane in self.adapter.lanes_in(predicted, meta)]
            frame = {"lines": lines, "size": tuple(meta["ori_shape"][:2])}
            if "lines" in labels:
                frame["labels"] = [np.asarray(line) for line in labels["lines"]]
            self.results.append((meta["img_path"], frame))

    def compute_metrics(self, results: list) -> dict:
        self.lanes.update(results)
        return {}
