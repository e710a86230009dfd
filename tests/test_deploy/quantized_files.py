"""``quantized.pth`` of the small detectors: ranges from a few frames, nothing tuned."""

from pathlib import Path

from originals import ROOT

from mmsf.deploy import ranges

FAMILIES = ("lstr", "bezierlanenet", "laneatt", "scnn", "resa", "condlanenet", "ganet")
PRESETS = ROOT / "configs" / "_base_" / "ptq"


def float_config(family: str) -> Path:
    return ROOT / "configs" / family / f"{family}_tiny_synthetic.py"


def float_weights(family: str) -> Path:
    return ROOT / "mmsf" / "zoo" / f"{family}_tiny_synthetic.pth"


def write_ranges(path: Path, family: str, roads: Path, **quantizer) -> Path:
    """Write the file; ``quantizer`` holds arguments of `QuantizationSettings`."""
    files = float_config(family), float_weights(family)
    ranges.write_ranges(path, *files, PRESETS, frames=3, data_root=roads, **quantizer)
    return path
