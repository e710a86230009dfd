"""docs/quantize_your_own_detector.md, followed by its words alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmsf.adapters import ConfiguredAdapter
from mmsf.registry import DATASETS, TASK_UTILS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "quantize_your_own_detector.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SIZE = (32, 64)
A = 3
# The raw outputs of the rows of the page's table of forms, and the shape of every head's gate.
FORMS = [
    (dict(logits=(2, 6, 2), curves=(2, 6, 8)), dict(curve=(2, 6, 1))),
    (dict(logits=(2, 6, 2), curves=(2, 6, 8)), dict(curve=(2, 6, 1))),
    (dict(logits=(4, 2, 6, 2), curves=(4, 2, 6, 8)), dict(curve=(2, 6, 1))),
    (dict(stages=[(2, 20, 2 + 3 + 8)] * 3), dict(line=(2, 20, 1), x=(2, 20, 1))),
    (dict(logits=(2, 6), curves=(2, 6, 8)), dict(curve=(2, 6, 1))),
    (((2, 1, 5, 7), (2, 2, 5, 7)), dict(offset=(2, 5, 7, 1))),
    ((2, 11, 18, 4), dict(column=(2, 18, 4, 1))),
    (((2, 11, 18, 4), (2, 4)), dict(column=(2, 18, 4, 1))),
    (dict(loc=(2, 10, 18, 4), exist=(2, 2, 18, 4)), dict(column=(2, 18, 4, 1))),
    (dict(seg=(2, 5, 6, 9)), dict(map=(2, 6, 9, 1))),
    (dict(seg=(2, 4, 6, 9), exist=(2, 4)), dict(map=(2, 1, 1, 4))),
    ((2, 20, 4 + 8), dict(extent=(2, 20, 1), x=(2, 20, 1))),
    (dict(cls=(2, A, 5, 7), reg=(2, 4 * A, 5, 7)), dict(box=(2, 5, 7, A, 1))),
    (dict(cls=[(2, 1, 4, 6), (2, 1, 2, 3)], reg=[(2, 4, 4, 6), (2, 4, 2, 3)]), dict(box=(2, 30, 1))),
]


def rows_of_the_table() -> list[str]:
    """The configs in the first table: what stands between backticks in the second column."""
    table = PAGE.split("| the network returns | config |\n|---|---|\n")[1].split("\n\n")[0]
    return [", ".join(re.findall(r"`([^`]*)`", row.split(" | ")[-1])) for row in table.splitlines()]


class Returns(nn.Module):
    """Returns tensors of such shapes, made of the image."""

    def __init__(self, shapes) -> None:
        super().__init__()
        self.shapes = shapes

    def forward(self, inputs, mode):
        return self._made(self.shapes, inputs.mean())

    def _made(self, shapes, number):
        if isinstance(shapes, dict):
            return {name: self._made(shape, number) for name, shape in shapes.items()}
        if not all(isinstance(size, int) for size in shapes):
            return [self._made(shape, number) for shape in shapes]
        return torch.linspace(-1, 1, torch.Size(shapes).numel()).view(shapes) + number


@pytest.mark.parametrize(("row", "form"), list(zip(rows_of_the_table(), FORMS, strict=True)))
def test_every_form_of_the_table_fits_its_network(row, form):
    shapes, gates = form
    adapter = ConfiguredAdapter(**eval(f"dict({row})", {"dict": dict, "A": A}))
    network = Returns(shapes).eval()
    adapter.bind(network, SIZE)
    heads = adapter.split(adapter.by_name(network(torch.zeros(2, 3, *SIZE), mode="tensor")))
    assert {name: tuple(adapter.gate(heads, name).shape) for name in adapter.semantic_heads} == gates
    for name, gate in gates.items():
        assert len(gate) == heads.semantics[name].dim()


def test_the_lines_that_the_page_begins_with_build(tmp_path):
    (language, lines), *_ = BLOCKS
    assert language == "python"
    (tmp_path / "config.py").write_text(f"test_pipeline = []\n{lines}")
    config = Config.fromfile(tmp_path / "config.py")
    assert set(TASK_UTILS.build(config.adapter).semantic_heads) == {"curve"}
    assert len(config.input_size) == 2
    dataset = {**config.calibration_dataloader.dataset, "calibration_root": str(ROOT / "docs"), "lazy_init": True}
    DATASETS.build(dataset)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder like a fresh clone, the page's files written and its commands run in the page's order."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("mmsf", "configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    for language, text in BLOCKS:
        if language == "python" and text.startswith("# own/"):
            path = folder / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "bash":
            ran = subprocess.run(["bash", "-e", "-c", text], cwd=folder, env=environment, capture_output=True, text=True)
            assert ran.returncode == 0, f"{text}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
            with open(folder / "log.txt", "a") as log:
                log.write(ran.stdout + ran.stderr)
    return folder


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.slow
def test_the_curve_network_is_quantized_as_the_page_says(clone):
    folder = clone / "own" / "curve_net_w4a4"
    summary, sensitivity = read(folder, "summary.json"), read(folder, "sensitivity.json")
    assert summary["iterations"] == 20
    assert set(summary["heads"]) == {"shape", "top"}
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert summary["agreement"]["damage"]["float_lanes"] > 0
    for curve in sensitivity["curves"].values():
        assert curve["score"][-1] > curve["score"][0]
    assert {name for entry in sensitivity["history"] for name in entry["selected"]} <= {"shape", "top"}
    assert (folder / "report.html").stat().st_size > 0
    tested = re.findall(r"CULane/F1: ([\d.]+)", next((clone / "own" / "curve_net_test").glob("*/*.log")).read_text())
    assert float(tested[-1]) == pytest.approx(summary["quantized"]["CULane/F1"], abs=1e-4)
    assert len(list((clone / "own" / "curve_net_lanes").rglob("*.lines.txt"))) == 8


@pytest.mark.slow
def test_the_row_network_is_quantized_with_its_own_metric(clone):
    summary = read(clone / "own" / "row_net_w4a4", "summary.json")
    assert 0 < summary["float"]["found"] <= 1
    assert 0 <= summary["quantized"]["found"] <= 1
    assert summary["agreement"]["damage"]["float_lanes"] > 0
    assert "Eq. 6 takes DecodedLaneLoss's place" in (clone / "log.txt").read_text()
    analysis = read(clone / "own" / "row_net_sensitivity", "sensitivity.json")
    assert set(analysis["algorithm1"]) == {"column"}
    assert set(analysis["confidences"]) == {"seen", "exist"}
    assert analysis["layers"]
