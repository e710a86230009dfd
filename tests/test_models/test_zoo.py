"""The bundled small detectors find the lanes of synthetic roads that they never saw."""

from pathlib import Path

import pytest
from originals import ROOT

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine.config import read_config
from mmsf.engine.inferencer import LaneInferencer
from mmsf.evaluation.culane_score import count_frames, total
from mmsf.lanes.culane import frame_path, lines_path, read_lines, read_list
from mmsf.registry import MODELS

ZOO = ROOT / "mmsf" / "zoo"
FAMILIES = ["bezierlanenet", "condlanenet", "ganet", "laneatt", "lstr", "resa", "scnn"]


@pytest.fixture(scope="module")
def unseen(tmp_path_factory) -> Path:
    """Ten frames of a seed that no split has: plain roads, curves, arrows, traffic, glare."""
    folder = tmp_path_factory.mktemp("unseen")
    write_dataset(folder, frames=10, seed=123)
    return folder


def test_every_family_has_its_small_detector() -> None:
    assert sorted(path.stem.removesuffix("_tiny_synthetic") for path in ZOO.glob("*.pth")) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundled_detector_is_small(family: str) -> None:
    name = f"{family}_tiny_synthetic"
    assert (ZOO / f"{name}.pth").stat().st_size < 4e6
    detector = MODELS.build(read_config(ROOT / "configs" / family / f"{name}.py").model)
    assert sum(parameter.numel() for parameter in detector.parameters()) < 1e6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundled_detector_loads_strictly_and_finds_most_lanes(family: str, unseen: Path) -> None:
    name = f"{family}_tiny_synthetic"
    inferencer = LaneInferencer(ROOT / "configs" / family / f"{name}.py", ZOO / f"{name}.pth", show_progress=False)
    frames = read_list(unseen / "list" / "test.txt")
    found = inferencer([frame_path(unseen, frame) for frame in frames], overlay=False)["predictions"]
    labelled = [read_lines(lines_path(unseen, frame)) for frame in frames]
    counts = total(count_frames(labelled, [frame["lines"] for frame in found]))
    assert counts.tp + counts.fn > 20
    assert counts.f1 > 0.9
