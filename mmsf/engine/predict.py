"""Lanes of single pictures, by float or quantized weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dataset import Compose, pseudo_collate

from mmsf.engine.config import is_ptq, read_config
from mmsf.engine.quantized_file import is_exported, is_quantized, read_quantized
from mmsf.lanes.lane import Lane
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.registry import MODELS, TRANSFORMS


def build_predictor(config: str | Path, weights: str | Path) -> tuple[torch.nn.Module, Compose]:
    """A model with its weights, and the pipeline that its pictures go through.

    Args:
        config: A float or a PTQ config; it gives the pipeline, and the model of float weights.
        weights: ``quantized.pth``, a file of `tools/export.py`, or float weights that `load_float_checkpoint` takes.

    Raises:
        UserError: A file is missing or does not fit.
    """
    cfg = read_config(config)
    pipeline = Compose([TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline])
    if is_exported(weights):
        return MODELS.build(dict(type="mmsf.DeployedDetector", file=str(weights))), pipeline
    if is_quantized(weights):
        return read_quantized(weights), pipeline
    model = MODELS.build(cfg.model.detector if is_ptq(cfg) else cfg.model)
    load_float_checkpoint(model, weights)
    return model.eval(), pipeline


def predict(model: torch.nn.Module, pipeline: Compose, pictures: Sequence[str | Path]) -> list[list[Lane]]:
    """Lanes of pictures, in pixels of each.

    Args:
        model: What `build_predictor` gave.
        pipeline: What `build_predictor` gave.
        pictures: Paths of pictures.

    Raises:
        UserError: A picture is missing or cannot be read.
    """
    found = []
    for picture in pictures:
        batch = pseudo_collate([pipeline({"img_path": str(picture)})])
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        instances = sample.pred_instances
        found.append([Lane(points, score) for points, score in zip(instances.lines, instances.scores)])
    return found
