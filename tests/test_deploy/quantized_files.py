"""``quantized.pth`` of the small detectors: ranges from a few frames, nothing tuned."""

from pathlib import Path

import torch
from originals import ROOT

from mmsf.deploy.frames import read_frames
from mmsf.engine.ptq import ptq_config
from mmsf.engine.quantized_file import write_quantized
from mmsf.quantization import MSERange
from mmsf.registry import MODELS

FAMILIES = ("lstr", "bezierlanenet", "laneatt", "scnn", "resa", "condlanenet", "ganet")
PRESETS = ROOT / "configs" / "_base_" / "ptq"


def float_config(family: str) -> Path:
    return ROOT / "configs" / family / f"{family}_tiny_synthetic.py"


def float_weights(family: str) -> Path:
    return ROOT / "mmsf" / "zoo" / f"{family}_tiny_synthetic.pth"


def write_ranges(path: Path, family: str, roads: Path, **quantizer) -> Path:
    """Write the file; ``quantizer`` holds arguments of `QuantizationSettings`."""
    cfg = ptq_config(
        float_config(family),
        preset="omse",
        bits="w8a8",
        presets=PRESETS,
        checkpoint=str(float_weights(family)),
        data_root=str(roads),
        options={f"model.quantizer.{name}": value for name, value in quantizer.items()},
    )
    model = MODELS.build(cfg.model)
    images = read_frames(cfg, 3, model.data_preprocessor).images
    network = model.quantized
    with torch.no_grad(), network.observing() as histograms, network.running():
        network.network(images, mode="tensor")
    network.set_ranges(histograms, MSERange(), MSERange())
    write_quantized(path, model, cfg)
    return path
