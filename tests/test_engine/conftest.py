"""A few synthetic roads, and a finished run of quantization on them."""

from pathlib import Path

import pytest
from test_engine.runs import run_tool

from mmsf.datasets.synthetic import write_dataset


@pytest.fixture(scope="session")
def roads(tmp_path_factory) -> Path:
    """Six frames to evaluate in ``test``, ten others to calibrate in ``train``, CULane's layout."""
    folder = tmp_path_factory.mktemp("roads")
    write_dataset(folder / "train", frames=10, seed=1)
    write_dataset(folder / "test", frames=6, seed=2)
    return folder


@pytest.fixture(scope="session")
def finished(roads, tmp_path_factory) -> Path:
    """Work directory of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("finished")
    result = run_tool(roads, folder)
    assert result.returncode == 0, result.stderr
    return folder
