"""Keeps the lanes that a validation run predicts."""

from mmengine.evaluator import BaseMetric


class LaneRecorder(BaseMetric):
    """A metric without figures: it writes down every frame's lanes.

    Args:
        lanes: Filled with image path -> ``lines``, a list of (P, 2) arrays in pixels of the original image, and
            ``size``, that image's (height, width).
    """

    default_prefix = "lanes"

    def __init__(self, lanes: dict[str, dict]) -> None:
        super().__init__()
        self.lanes = lanes

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for sample in data_samples:
            frame = {"lines": sample["pred_instances"]["lines"], "size": tuple(sample["ori_shape"][:2])}
            self.results.append((sample["img_path"], frame))

    def compute_metrics(self, results: list) -> dict:
        self.lanes.update(results)
        return {}
