"""A detector quantized for a backend by ranges alone, without a run: for timing, where accuracy is not the question."""

from pathlib import Path

import torch

from mmsf.deploy.frames import read_frames
from mmsf.engine.ptq import ptq_config
from mmsf.engine.quantized_file import write_quantized
from mmsf.engine.wrapper import QuantWrapper
from mmsf.quantization import MSERange
from mmsf.registry import MODELS


def write_ranges(
    path: Path,
    config: str | Path,
    checkpoint: str | Path,
    presets: Path,
    *,
    frames: int,
    data_root: str | Path | None = None,
    **quantizer,
) -> QuantWrapper:
    """Write a ``quantized.pth`` whose ranges are those of least square error on a few frames.

    Args:
        path: Where it goes.
        config: The float config; its test data give the frames.
        checkpoint: The float weights.
        presets: Folder of the presets.
        frames: How many.
        data_root: Folder of the data set.
        **quantizer: Arguments of `QuantizationSettings`; by default W8A8.

    Returns:
        The model.
    """
    cfg = ptq_config(
        config,
        preset="omse",
        bits="w8a8",
        presets=presets,
        checkpoint=str(checkpoint),
        data_root=None if data_root is None else str(data_root),
        options={f"model.quantizer.{name}": value for name, value in quantizer.items()},
    )
    model: QuantWrapper = MODELS.build(cfg.model)
    images = read_frames(cfg, frames, model.data_preprocessor).images
    network = model.quantized
    with torch.no_grad(), network.observing() as histograms, network.running():
        network.network(images, mode="tensor")
    network.set_ranges(histograms, MSERange(), MSERange())
    write_quantized(path, model, cfg)
    return model
