"""Places that cannot be written to: one clear line, before the work is done, and nothing left."""

import shutil
from pathlib import Path

import pytest
from test_engine.runs import CHECKPOINT, CONFIG, FLOAT_CONFIG, ROOT

import mmsf.deploy.export
import mmsf.engine.evaluate
import mmsf.engine.infer
from mmsf.benchmark.deploy import benchmark_deploy
from mmsf.benchmark.speed import benchmark_speed
from mmsf.errors import UserError
from mmsf.files import require_folder, require_place, whole_or_absent

# FILE is a file, DIR a folder, ROADS a data set.
CALLS = {
    "ptq": [CONFIG, "--checkpoint", CHECKPOINT, "--data-root", "ROADS", "--work-dir", "FILE/x"],
    "analyze_sensitivity": [CONFIG, "--checkpoint", CHECKPOINT, "--data-root", "ROADS", "--work-dir", "FILE/x"],
    "train": [FLOAT_CONFIG, "--data-root", "ROADS", "--work-dir", "FILE/x"],
    "test": [FLOAT_CONFIG, CHECKPOINT, "--data-root", "ROADS", "--work-dir", "FILE"],
    "infer": [FLOAT_CONFIG, CHECKPOINT, "ROADS", "--out", "FILE/x"],
    "export": [CONFIG, CHECKPOINT, "--backend", "onnxruntime", "--out", "FILE/a.onnx"],
    "convert_checkpoint": [CHECKPOINT, "--out", "DIR"],
    "evaluate_culane": ["--gt", "ROADS", "--pred", "ROADS", "--list", "ROADS/list/test.txt", "--json", "DIR"],
    "evaluate_tusimple": ["--gt", "ROADS/none", "--pred", "ROADS/none", "--json", "FILE/x.json"],
    "make_synthetic": ["--frames", "1", "--seed", "1", "--workers", "1", "--out", "FILE/x"],
    "contact_sheet": ["--pictures", "a.jpg", "--detector", "a", "b", "c", "d", "--out", "FILE/x.jpg"],
    "choose_anchors": [
        *(ROOT / "configs/laneatt/laneatt_tiny_synthetic.py", "--count", "5", "--out", "DIR"),
    ],
}


def never(*_, **__) -> None:
    raise AssertionError("the work was begun")


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("tool", CALLS)
def test_an_impossible_place_is_one_line_before_the_work(tool, command, roads, place, monkeypatch):
    monkeypatch.setattr(mmsf.engine.infer.LaneInferencer, "stream", never)
    monkeypatch.setattr(mmsf.deploy.export, "read_quantized", never)
    for module in ("models.losses.anchor_use.anchor_use", "evaluation.culane_files.evaluate_lists"):
        monkeypatch.setattr(f"mmsf.{module}", never)
    names = {"FILE": place / "file", "DIR": place / "folder", "ROADS": roads / "test"}
    given = []
    for argument in map(str, CALLS[tool]):
        for name, path in names.items():
            argument = argument.replace(name, str(path))
        given.append(argument)
    status, _, errors = command(tool, *given)
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (status, len(told)) == (2, 1), errors
    assert "Traceback" not in errors
    assert str(place) in told[0]
    assert sorted(path.name for path in place.rglob("*")) == ["file", "folder"]
    assert (place / "file").read_text() == "kept"


def test_benchmarks_try_their_folder_before_they_measure(place):
    with pytest.raises(UserError, match="file/x cannot be written: Not a directory"):
        benchmark_deploy((), place / "file" / "x", place, 1, never)
    with pytest.raises(UserError, match="file/x cannot be written: Not a directory"):
        benchmark_speed((), place / "file" / "x", place, 1, 1, (), never)


@pytest.mark.parametrize("wrong", ["gone", "a folder"])
def test_what_goes_wrong_in_the_last_step_is_one_line_and_leaves_nothing(wrong, place):
    path = place / "new" / "a.txt"
    told = pytest.raises(UserError, match=r"a\.txt cannot be written: (No such file|Is a directory)")
    with told, whole_or_absent(path) as temporary:
        temporary.unlink() if wrong == "gone" else path.mkdir()
    assert not any(found.is_file() for found in path.parent.iterdir())


def test_a_missing_input_is_not_told_as_an_output_that_cannot_be_written(place):
    with pytest.raises(FileNotFoundError), whole_or_absent(place / "a.txt"):
        (place / "nowhere").read_text()
    assert not (place / "a.txt").exists()


def test_a_try_leaves_nothing_but_the_folder(place):
    require_folder(place / "new")
    require_place(place / "new" / "folder" / "a.txt")
    assert [path.name for path in (place / "new").rglob("*")] == ["folder"]
    with pytest.raises(UserError, match="folder cannot be written: Is a directory; choose another place"):
        require_place(place / "folder")


def test_a_name_may_be_as_long_as_the_file_system_takes(place):
    path = place / ("a" * 251 + ".txt")
    with whole_or_absent(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    with pytest.raises(UserError, match="File name too long; choose another place"), whole_or_absent(place / ("a" * 256)):
        pass


def test_a_name_that_is_too_long_is_one_line(command, place):
    status, _, errors = command("infer", place / ("a" * 300), CHECKPOINT, place, "--out", place / "out")
    assert (status, errors.count("\n")) == (2, 1)
    assert "File name too long; give a shorter name" in errors
    out = place / ("b" * 300)
    status, _, errors = command("make_synthetic", "--frames", "1", "--seed", "1", "--out", out)
    assert (status, errors) == (2, f"error: {out}: File name too long; give a shorter name\n")


@pytest.mark.parametrize(("length", "status"), [(241, 0), (246, 2)])
def test_lanes_of_an_image_with_a_long_name_are_written_or_refused_before_any_is(length, status, command, roads, place):
    first, second = sorted((roads / "test").rglob("*.jpg"))[:2]
    shutil.copy(first, place / "folder" / "a.jpg")
    shutil.copy(second, place / "folder" / ("b" * length + ".jpg"))
    told, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, place / "folder", "--out", place / "out")
    assert told == status, errors
    assert len([path for path in (place / "out").rglob("*") if path.is_file()]) == (4 if status == 0 else 0)
    if status:
        assert errors.splitlines()[-1].endswith(".jpg: its name leaves no room for .lines.txt; give it a shorter one")
