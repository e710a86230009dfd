"""The cases whose results the official evaluators have printed."""

import json
import tarfile
from pathlib import Path

import pytest
from test_evaluation.cases import DATA


@pytest.fixture(scope="session")
def culane_cases(tmp_path_factory) -> Path:
    """Folder with the frames of ``seed1`` and ``edge`` in CULane's layout."""
    folder = tmp_path_factory.mktemp("culane")
    for name in ("seed1", "edge"):
        with tarfile.open(DATA / "culane_metric" / f"culane_{name}.tar.xz") as archive:
            archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def culane_official() -> dict:
    """What the official C++ evaluator counted."""
    return json.loads((DATA / "culane_metric" / "official.json").read_text())
