"""A benchmark as a user starts it: LSTR on a dozen frames, in processes of its own."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mmsf.benchmark import Benchmark, cell
from mmsf.benchmark.cell import prepare
from mmsf.benchmark.grid import read_grid
from mmsf.benchmark.pack import pack_cells
from mmsf.datasets.synthetic import write_dataset
from mmsf.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "configs" / "_base_" / "ptq"
CONFIG = """\
title = "A dozen frames"
table = 1
detectors = [
    dict(
        name="lstr",
        config={config!r},
        checkpoint={checkpoint!r},
        data_root={roads!r} + "/test",
        calibration_root=[{roads!r} + "/train"],
        paper="LSTR Small",
    )
]
methods = [
    dict(name="broken", preset="paper", options={{"model.loss.focus_power": -1.0}}),
    dict(name="paper", paper="Ours"),
    dict(name="tuned", preset="selective-focus", options={{"param_scheduler.0.T_max": 2}}),
    dict(name="absent"),
]
bits = ["w4a4"]
options = {{
    "train_cfg.max_iters": 2,
    "train_cfg.cost_samples": 0,
    "train_cfg.weight_range.type": "mmsf.MinMaxRange",
    "train_cfg.activation_range.type": "mmsf.MinMaxRange",
    "train_cfg.curves.frames": 4,
    "train_cfg.curves.draws": 2,
    "train_cfg.curves.levels": 4,
    "train_dataloader.batch_size": 4,
    "custom_hooks.1.overlays": 0,
    "env_cfg.mp_cfg.opencv_num_threads": 1,
}}
"""
CHOSEN = ["--methods", "broken", "paper", "tuned"]


def tool(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A benchmark of four methods, one of them without a preset, on eight and twelve frames."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_dataset(folder / "train", frames=8, seed=1)
    write_dataset(folder / "test", frames=12, seed=2)
    path = folder / "dozen.py"
    weights = ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth"
    lstr = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
    path.write_text(CONFIG.format(config=str(lstr), checkpoint=str(weights), roads=str(folder)))
    return path


@pytest.fixture(scope="module")
def ran(config, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """Work directory, and the finished process, of a grid one of whose cells fails."""
    folder = tmp_path_factory.mktemp("ran")
    return folder, tool("grid", str(config), "--work-dir", str(folder), *CHOSEN)


def test_the_failed_cell_is_told_and_the_others_run(ran):
    folder, process = ran
    assert process.returncode == 1, process.stderr
    assert "lstr w4a4 broken seed 0: FAILED: SelectiveFocusLoss: confidence_weight and focus_power" in process.stdout
    assert "2 cells left" in process.stdout
    records = {record["method"]: record for record in json.loads((folder / "cells.json").read_text())["cells"]}
    assert {name: record["status"] for name, record in records.items()} == {
        "broken": "failed",
        "paper": "finished",
        "tuned": "finished",
    }
    for name in ("paper", "tuned"):
        assert (records[name]["iterations"], records[name]["batch_size"], records[name]["sample_passes"]) == (2, 4, 8)
        assert 0 < records[name]["f1_standard_error"] < 0.5
    assert {path.name for path in folder.iterdir()} == {"cells", "cells.csv", "cells.json", "plot.png", "table.md"}


def test_the_table_stands_beside_the_paper(ran):
    folder, process = ran
    text = (folder / "table.md").read_text()
    assert text in process.stdout
    (row,) = [line for line in text.splitlines() if line.startswith("| W4A4 | paper |") and "(" in line]
    assert row.endswith("(34.65) |")
    assert "| Full Precision | Model Baseline |" in text


def test_the_frames_of_a_cell_add_up_to_its_metrics(ran):
    cell_folder = ran[0] / "cells" / "lstr" / "w4a4" / "paper" / "seed0"
    frames = json.loads((cell_folder / "frames.json").read_text())
    summary = json.loads((cell_folder / "summary.json").read_text())
    assert len(set(frames["frames"])) == 12
    for stage in ("float", "calibrated", "quantized"):
        sums = dict(zip(frames["columns"], map(sum, zip(*frames[stage]))))
        assert sums == {key: summary[stage][f"CULane/{key}"] for key in ("tp", "fp", "fn")}
    assert [path.name for path in cell_folder.glob("*.pth")] == ["quantized.pth"]


def test_a_second_call_starts_no_process(ran, config, monkeypatch):
    started = []
    monkeypatch.setattr(cell.subprocess, "run", lambda command, **kwargs: started.append(command))
    before = (ran[0] / "cells.json").read_text()
    benchmark = Benchmark(config, ran[0], PRESETS, part=dict(methods=["paper", "tuned"]))
    assert benchmark.run(str) == []
    assert started == []
    # The part that was not asked for this time is in the tables all the same.
    assert (ran[0] / "cells.json").read_text() == before


def test_packed_cells_are_finished_where_they_are_unpacked(ran, config, tmp_path):
    part = dict(methods=["paper", "tuned", "broken"])
    assert pack_cells(Benchmark(config, ran[0], PRESETS, part=part).runs, tmp_path / "cells.tar.xz") == 2
    with tarfile.open(tmp_path / "cells.tar.xz") as archive:
        assert all(str(ran[0]) not in archive.extractfile(entry).read().decode() for entry in archive)
        archive.extractall(tmp_path / "elsewhere", filter="data")
    benchmark = Benchmark(config, tmp_path / "elsewhere", PRESETS, part=part)
    assert [run.cell.method.name for run in benchmark.runs if run.finished()] == ["paper", "tuned"]
    # And what is packed there is the same file again.
    pack_cells(benchmark.runs, tmp_path / "again.tar.xz")
    assert (tmp_path / "again.tar.xz").read_bytes() == (tmp_path / "cells.tar.xz").read_bytes()


def test_nothing_finished_is_one_line(config, tmp_path):
    process = tool("pack", str(config), "--work-dir", str(tmp_path), "--methods", "paper")
    assert (process.returncode, process.stderr) == (2, "error: no cell is finished\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda benchmark: dict(options={"train_cfg.max_iters": 3}),
        lambda benchmark: dict(files=dict(calibration_root=[str(benchmark.parent)])),
        lambda benchmark: dict(files=dict(checkpoint=str(other_weights(benchmark.parent)))),
    ],
    ids=["options", "calibration images", "weights"],
)
def test_other_settings_are_another_run(ran, config, change):
    part = dict(methods=["paper"])
    (same,) = Benchmark(config, ran[0], PRESETS, part).runs
    (other,) = Benchmark(config, ran[0], PRESETS, part, **change(config)).runs
    assert same.folder == other.folder
    assert same.finished()
    assert not other.finished()


def other_weights(folder: Path) -> Path:
    """A file other than the float weights."""
    path = folder / "other.pth"
    path.write_bytes(b"others")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "paper", "absent"], "lstr, absent: no preset 'absent' at 'w4a4'"),
        (["--detectors", "scnn"], "no detector 'scnn'"),
        (["--methods", "paper", "--data-root", "nowhere"], "lstr: there is no folder nowhere"),
        (["--methods", "paper", "--checkpoint", "nothing.pth"], "checkpoint nothing.pth is not there"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(config, tmp_path, arguments, message):
    names = {"--methods": "methods", "--detectors": "detectors", "--data-root": "data_root", "--checkpoint": "checkpoint"}
    given: dict = {}
    for argument in arguments:
        if argument in names:
            given[names[argument]] = []
        else:
            given[list(given)[-1]].append(argument)
    files = {key: given.pop(key)[0] for key in ("data_root", "checkpoint") if key in given}
    with pytest.raises(UserError, match=message):
        Benchmark(config, tmp_path, PRESETS, part=given, files=files)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_and_status_2(config, tmp_path):
    process = tool("grid", str(config), "--work-dir", str(tmp_path))
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: lstr, absent: no preset 'absent' at 'w4a4'; known: ")
    assert process.stderr.count("\n") == 1


def test_seeds_share_everything_but_the_seed(config, tmp_path):
    cells = read_grid(config).part(methods=["paper"], seeds=[0, 1]).cells()
    first, second = prepare(cells, tmp_path, PRESETS, {})
    assert first.fingerprint != second.fingerprint
    assert (first.arguments["options"].pop("randomness.seed"), second.arguments["options"].pop("randomness.seed")) == (0, 1)
    assert first.arguments["options"] == second.arguments["options"]


def test_one_process_is_compared_with_two(config, tmp_path):
    process = tool("processes", str(config), "--work-dir", str(tmp_path), "--methods", "tuned")
    assert process.returncode == 0, process.stdout + process.stderr
    text = (tmp_path / "processes.md").read_text()
    assert text in process.stdout
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["lstr w4a4 tuned seed 0", "1"], ["lstr w4a4 tuned seed 0", "2"]]
    one, two = ([float(cell) for cell in row[2:]] for row in rows)
    assert one[1] == 1.0
    assert two[1] == pytest.approx(two[0] / one[0], rel=0.1)
    assert all(value > 0 for value in (one[0], two[0], one[2], two[2], one[3], two[3]))
    cells = tmp_path / "cells" / "lstr" / "w4a4" / "tuned" / "seed0"
    for count in (1, 2):
        summary = json.loads((cells / f"processes{count}" / "summary.json").read_text())
        assert (summary["processes"], summary["iterations"]) == (count, 2)
        assert [path.name for path in (cells / f"processes{count}").glob("*.pth")] == ["quantized.pth"]
