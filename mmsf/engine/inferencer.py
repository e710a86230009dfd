"""Lanes of images, folders and videos, in the form of MMEngine's inferencers."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel
from mmengine.utils import ProgressBar

from mmsf.datasets.sources import Picture, Source, SourceFrame, find_sources
from mmsf.engine.building import build
from mmsf.engine.config import is_ptq, read_config, require_keys
from mmsf.engine.weights import open_model
from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.models.detectors.base import LaneDetector, as_instances
from mmsf.registry import INFERENCERS, TASK_UTILS, TRANSFORMS
from mmsf.visualization.overlay import PALETTE, draw_lanes

Inputs = str | Path | np.ndarray | Sequence[str | Path | np.ndarray]


class FoundLanes(NamedTuple):
    """A frame and its lanes.

    Attributes:
        frame: The frame.
        sample: What ``test_step`` gives: ``pred_instances`` has ``lines``, a list of (P, 2) arrays in pixels of the frame,
            and ``scores``.
        milliseconds: How long its batch took in the model, shared out.
    """

    frame: SourceFrame
    sample: DetDataSample
    milliseconds: float


@INFERENCERS.register_module()
class LaneInferencer(BaseInferencer):
    """Finds lanes with a float, quantized or exported detector.

    ``LaneInferencer(config, weights)(inputs)`` gives ``dict(predictions=[...], visualization=[...])``, an entry a frame: a
    prediction is ``dict(name=..., lines=[[[x, y], ...], ...], scores=[...])`` in pixels of the frame, a visualization the
    frame with its lanes, (H, W, 3) uint8, BGR. An input is an image file, a folder of images, a video, or an image (H, W, 3)
    uint8, BGR; or a list of these. All frames' pictures together may be more than the memory holds: `stream` gives one at a
    time.

    Args:
        model: A float or a PTQ config, or its path; it gives the pipeline, and the model of float weights.
        weights: A file that `mmsf.engine.weights` knows.
        device: Such as "cpu" or "cuda:0"; by default what MMEngine finds.
        scope: MMEngine's registry scope.
        show_progress: Whether to show a bar with an ETA.

    Raises:
        UserError: A file is missing or does not fit, or the config lacks the pipeline or the model.
    """

    visualize_kwargs: ClassVar[set[str]] = {"overlay"}

    def __init__(
        self,
        model: str | Path | Config | dict,
        weights: str | Path,
        device: str | None = None,
        scope: str | None = "mmsf",
        show_progress: bool = True,
    ) -> None:
        cfg = read_config(model) if isinstance(model, (str, Path)) else model
        require_keys(cfg, "test_dataloader.dataset.pipeline")
        settings = cfg.get("adapter") or (cfg.get("model", {}).get("adapter") if is_ptq(cfg) else None)
        self._configured = None if settings is None else TASK_UTILS.build(settings)
        super().__init__(cfg, weights, device, scope, show_progress)

    def __call__(
        self, inputs: Inputs, return_datasamples: bool = False, batch_size: int = 1, overlay: bool = True
    ) -> dict[str, list]:
        """Find the lanes of all frames of the inputs.

        Args:
            inputs: See the class.
            return_datasamples: Whether predictions are `DetDataSample`.
            batch_size: Frames that run through the model together.
            overlay: Whether to draw; without, ``visualization`` is empty.

        Raises:
            UserError: An input is missing, truncated or nothing of these.
        """
        samples, pictures = [], []
        for found in self.stream(self._inputs_to_list(inputs), batch_size):
            samples.append(found.sample)
            pictures += self.visualize([found.frame], [found.sample], overlay)
        return self.postprocess(samples, pictures, return_datasamples)

    def stream(self, sources: Sequence[Source], batch_size: int = 1) -> Iterator[FoundLanes]:
        """Frame by frame what ``__call__`` collects.

        Args:
            sources: What `mmsf.datasets.sources.find_sources` gave.
            batch_size: Frames that run through the model together.
        """
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} takes no frame; give at least 1")
        counts = [source.count for source in sources]
        bar = ProgressBar(sum(counts) if all(counts) else 0, file=sys.stdout) if self.show_progress else None
        frames = chain.from_iterable(source.frames() for source in sources)
        for together, batch in self.preprocess(frames, batch_size):
            begun = time.perf_counter()
            samples = self.forward(batch)
            milliseconds = 1000 * (time.perf_counter() - begun) / len(together)
            samples = [self._with_lines(*pair) for pair in zip(samples, batch["data_samples"])]
            for frame, sample in zip(together, samples):
                sample.set_metainfo({"relative_path": frame.name})
                yield FoundLanes(frame, sample, milliseconds)
            if bar is not None:
                bar.update(len(together))
        if bar is not None:
            bar.file.write("\n")

    def _with_lines(self, predicted: Any, given: DetDataSample) -> DetDataSample:
        """What the model predicted, as the frame's sample with ``lines``, whatever form a detector of one's own gives it."""
        adapter = getattr(self.model, "adapter", None) or self._configured
        if adapter is not None and adapter.predicts_itself:
            given.pred_instances = as_instances(adapter.lanes_in(predicted, given.metainfo))
            return given
        return predicted

    def preprocess(self, inputs: Iterable[SourceFrame], batch_size: int = 1, **_: Any) -> Iterator[tuple[list, dict]]:
        """Frames that run together, and what the model takes for them."""
        for together in self._get_chunk_data(inputs, batch_size):
            packed = [
                self.pipeline({"img": frame.image, "img_path": _path(frame), "relative_path": frame.name})
                for frame in together
            ]
            yield together, self.collate_fn(packed)

    def visualize(
        self, inputs: Sequence[SourceFrame], preds: Sequence[DetDataSample], overlay: bool = True, **_: Any
    ) -> list[np.ndarray]:
        """The frames with their lanes and scores; nothing without ``overlay``."""
        if not overlay:
            return []
        color = PALETTE["float" if isinstance(self.model, LaneDetector) else "quantized"]
        found = [sample.pred_instances for sample in preds]
        return [
            draw_lanes(frame.image, [Lane(*lane) for lane in zip(lanes.lines, lanes.scores)], color, scores=True)
            for frame, lanes in zip(inputs, found)
        ]

    def postprocess(
        self, preds: Sequence[DetDataSample], visualization: list[np.ndarray], return_datasamples: bool = False, **_: Any
    ) -> dict[str, list]:
        """MMEngine's result; without samples it can go into a JSON file, but for the pictures."""
        predictions = list(preds) if return_datasamples else [_plain(sample) for sample in preds]
        return dict(predictions=predictions, visualization=visualization)

    def _inputs_to_list(self, inputs: Inputs) -> list[Source]:
        return find_sources([inputs] if isinstance(inputs, (str, Path, np.ndarray)) else inputs)

    def _init_model(self, cfg: Config, weights: str | Path, device: str = "cpu") -> BaseModel:
        return open_model(cfg, weights).to(device)

    def _init_pipeline(self, cfg: Config) -> Compose:
        place = "test_dataloader.dataset.pipeline"
        steps = [build(TRANSFORMS, step, place) for step in cfg.test_dataloader.dataset.pipeline]
        return Compose([_AlreadyLoaded(step) if isinstance(step, LoadImageFromFile) else step for step in steps])

    def _init_visualizer(self, cfg: Config) -> None:
        """None: pictures are drawn by `mmsf.visualization`."""


class _AlreadyLoaded:
    """MMCV's loader of images, for a frame that is in memory: one of a video has no file."""

    def __init__(self, loader: LoadImageFromFile) -> None:
        self.to_float32 = loader.to_float32

    def __call__(self, results: dict) -> dict:
        image = results["img"].astype(np.float32) if self.to_float32 else results["img"]
        return {**results, "img": image, "img_shape": image.shape[:2], "ori_shape": image.shape[:2]}


def _path(frame: SourceFrame) -> str:
    """Of the frame's file, for transforms that look there; a frame without one has its name."""
    return str(frame.source.path) if isinstance(frame.source, Picture) else frame.name


def _plain(sample: DetDataSample) -> dict:
    lanes = sample.pred_instances
    lines = [line.tolist() for line in lanes.lines]
    return dict(name=sample.relative_path, lines=lines, scores=lanes.scores.tolist())
