"""A few synthetic roads, and quantized detectors on them."""

from pathlib import Path

import pytest
from test_deploy.quantized_files import write_ranges

from mmsf.datasets.synthetic import write_dataset


@pytest.fixture(scope="session")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames."""
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder, frames=4, seed=2)
    return folder


@pytest.fixture(scope="session")
def laneatt(roads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LaneATT, the smallest of the seven, for ONNX Runtime."""
    return write_ranges(tmp_path_factory.mktemp("laneatt") / "quantized.pth", "laneatt", roads, profile="onnxruntime")
