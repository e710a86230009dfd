"""Keeps the lanes that a validation run predicts."""

from mmengine.evaluator import BaseMetric


class LaneRecorder(BaseMetric):
    """A metric without figures: it writes down every frame's lanes.

    Args:
        lanes: Filled with image path -> list of (P, 2) arrays in pixels of the original image.
    """

    default_prefix = None

    def __init__(self, lanes: dict[str, list]) -> None:
        super().__init__()
        self.lanes = lanes

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for sample in data_samples:
            self.results.append((sample["img_path"], sample["pred_instances"]["lines"]))

    def compute_metrics(self, results: list) -> dict:
        self.lanes.update(results)
        return {}
