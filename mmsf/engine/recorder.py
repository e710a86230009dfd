"""Keeps the lanes that a validation run predicts."""

import numpy as np
from mmengine.evaluator import BaseMetric

from mmsf.adapters.base import Adapter
from mmsf.evaluation.samples import frame_name


class LaneRecorder(BaseMetric):
    """A metric without figures: it writes down every frame's lanes, and shows those of the float model to other metrics.

    Args:
        lanes: Filled with image path -> ``lines``, a list of (P, 2) arrays in pixels of the original image, ``size``, that
            image's (height, width), ``name``, see `frame_name`, and ``labels``, lines as they are
            labelled, where they are. Frames without a path in their metainfo are left out.
        adapter: Finds the lanes in a prediction.
        floats: Such ``lanes`` of the float model; None while that is the one that predicts.
    """

    default_prefix = "lanes"

    def __init__(self, lanes: dict[str, dict], adapter: Adapter, floats: dict[str, dict] | None) -> None:
        super().__init__()
        self.lanes, self.adapter, self.floats = lanes, adapter, floats

    def process(self, data_batch: dict, data_samples: list) -> None:
        for given, predicted in zip(self.adapter.complete(data_batch["data_samples"]), data_samples):
            meta, labels = given.metainfo, given.get("gt_instances", {})
            if "img_path" not in meta:
                continue
            lines = [lane.points for lane in self.adapter.lanes_in(predicted, meta)]
            frame = {"lines": lines, "size": tuple(meta["ori_shape"][:2]), "name": frame_name(meta)}
            if isinstance(predicted, dict):
                predicted.setdefault("ori_shape", frame["size"])
                known = frame if self.floats is None else self.floats.get(meta["img_path"])
                if known is not None:
                    predicted["float_instances"] = {"lines": known["lines"]}
                    predicted["compared_instances"] = {"lines": lines}  # both in the adapter's form
            if "lines" in labels:
                frame["labels"] = [np.asarray(line) for line in labels["lines"]]
            self.results.append((meta["img_path"], frame))

    def compute_metrics(self, results: list) -> dict:
        self.lanes.update(results)
        return {}
