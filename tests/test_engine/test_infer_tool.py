"""`tools/infer.py`: lanes of images, folders and videos as files."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT

from mmsf.datasets import CULaneDataset
from mmsf.engine import LaneInferencer
from mmsf.engine.evaluate import evaluate
from mmsf.engine.infer import infer
from mmsf.evaluation.culane_score import count_frames
from mmsf.lanes.culane import lines_path, read_lines
from mmsf.lanes.tusimple import ROWS, TuSimpleFrame, read_frames, resample, write_frames

RATE = 5.0


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def pictures(roads) -> list[Path]:
    return sorted((roads / "test").rglob("*.jpg"))


@pytest.fixture(scope="module")
def video(pictures, tmp_path_factory) -> Path:
    """The synthetic frames, half as large, one after the other."""
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (820, 294))
    for picture in pictures:
        writer.write(cv2.resize(cv2.imread(str(picture)), (820, 294)))
    writer.release()
    return path


def decoded(path: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        images.append(read[1])
    return images


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("model = dict(num_queriess=7)", "the config's model cannot be built: TypeError: .*num_queriess"),
        (
            "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImagee')]))",
            "the config's test_dataloader.dataset.pipeline cannot be built: KeyError: .*LoadImagee",
        ),
    ],
)
def test_a_config_that_cannot_be_built_is_one_line(line, told, command, roads, tmp_path):
    (tmp_path / "wrong.py").write_text(f"_base_ = {str(FLOAT_CONFIG)!r}\n{line}\n")
    status, _, errors = command("infer", tmp_path / "wrong.py", CHECKPOINT, roads / "test", "--out", tmp_path / "lanes")
    assert status == 2
    assert re.fullmatch(f"error: {told}.*\n", errors), errors


@pytest.mark.parametrize("kind", ["float", "quantized"])
def test_texts_of_a_folder_score_as_the_evaluation_of_its_frames(kind, command, roads, finished, tmp_path):
    data, out = roads / "test", tmp_path / "lanes"
    weights = {"float": CHECKPOINT, "quantized": finished / "quantized.pth"}[kind]
    status, printed, errors = command("infer", FLOAT_CONFIG, weights, data, "--out", out, "--no-overlay")
    assert status == 0, errors
    assert printed.endswith(f"lanes of 6 frames in {out}\n")
    lists = ["--list", data / "list" / "test.txt"]
    status, _, errors = command("evaluate_culane", "--gt", data, "--pred", out, *lists, "--json", tmp_path / "scores.json")
    assert status == 0, errors
    assert errors == ""
    scores = json.loads((tmp_path / "scores.json").read_text())
    metrics = evaluate(FLOAT_CONFIG, weights, data_root=str(data), work_dir=str(tmp_path / "run"))
    assert {key: scores[key] for key in ("tp", "fp", "fn")} == {key: metrics[f"CULane/{key}"] for key in ("tp", "fp", "fn")}
    assert scores["f1"] == metrics["CULane/F1"]
    assert scores["tp"] + scores["fp"] > 0
    if kind == "quantized":
        assert scores["f1"] < 1
    assert all(name.endswith(".lines.txt") for name in files(out))


def test_texts_hold_the_inferencers_lanes_to_the_last_digit(command, pictures, tmp_path):
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, *pictures[:3], "--out", tmp_path, "--batch-size", 2)
    assert status == 0, errors
    inferencer = LaneInferencer(FLOAT_CONFIG, CHECKPOINT, show_progress=False)
    predictions = inferencer(pictures[:3], batch_size=2, overlay=False)["predictions"]
    for picture, frame in zip(pictures, predictions):
        text = read_lines(tmp_path / picture.with_suffix(".lines.txt").name)
        assert [lane.tolist() for lane in text] == frame["lines"]
    overlays = [f"overlays/{picture.name}" for picture in pictures[:3]]
    assert [name for name in files(tmp_path) if not name.endswith(".txt")] == overlays


def test_a_tusimple_file_scores_as_the_evaluation_of_its_frames(command, roads, tmp_path):
    data, out, h_samples = roads / "test", tmp_path / "lanes", ROWS[8:] * (590 / 720)
    frames = CULaneDataset(str(data))
    labels = [
        TuSimpleFrame(frame["relative_path"], list(resample(frame["lines"], h_samples)), h_samples) for frame in frames
    ]
    write_frames(tmp_path / "label_data.json", labels)
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(FLOAT_CONFIG)!r}\n"
        f"test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(_delete_=True, type='TuSimpleDataset', "
        f"data_root={str(data)!r}, label_file={str(tmp_path / 'label_data.json')!r}, "
        "pipeline=_base_.pipeline, test_mode=True))\n"
        "test_evaluator = dict(_delete_=True, type='TuSimpleMetric')\n"
    )
    options = ("--format", "tusimple", "--no-overlay")
    status, _, errors = command("infer", config, CHECKPOINT, data, "--out", out, *options)
    assert status == 0, errors
    assert files(out) == ["predictions.json"]
    predicted = read_frames(out / "predictions.json", run_time=True)
    assert all(frame.run_time > 0 for frame in predicted)
    assert predicted[0].h_samples.tolist() == (ROWS * (590 / 720)).tolist()
    # How long a frame took on a busy machine must not decide here.
    write_frames(out / "fast.json", [replace(frame, run_time=1.0) for frame in predicted])
    files_given = ("--gt", tmp_path / "label_data.json", "--pred", out / "fast.json", "--json", out / "scores.json")
    status, _, errors = command("evaluate_tusimple", *files_given)
    assert status == 0, errors
    scores = json.loads((out / "scores.json").read_text())
    metrics = evaluate(config, CHECKPOINT, work_dir=str(tmp_path / "run"))
    assert {key: scores[key] for key in ("accuracy", "FP", "FN", "F1")} == {
        key: pytest.approx(metrics[f"TuSimple/{key}"], abs=1e-9) for key in ("accuracy", "FP", "FN", "F1")
    }
    assert scores["accuracy"] > 0.8


def test_lanes_that_are_not_finite_count_as_in_the_evaluation(roads, tmp_path):
    name, data = "bezierlanenet_tiny_synthetic", roads / "test"
    config, weights = ROOT / "configs" / "bezierlanenet" / f"{name}.py", ROOT / "mmsf" / "zoo" / f"{name}.pth"
    inferencer = LaneInferencer(config, weights, show_progress=False)
    with torch.no_grad():
        inferencer.model.proj_regression.bias[0] = float("nan")
    infer(inferencer, [data], tmp_path)
    samples = inferencer([data], return_datasamples=True, overlay=False)["predictions"]
    found = [sample.pred_instances.lines for sample in samples]
    assert any(not np.isfinite(line).all() for lines in found for line in lines)
    labelled, written = (
        [read_lines(lines_path(root, sample.relative_path)) for sample in samples] for root in (data, tmp_path)
    )
    assert count_frames(labelled, written) == count_frames(labelled, found)


def test_a_video_gives_a_text_a_frame_and_one_annotated_video(command, video, tmp_path):
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, video, "--out", tmp_path, "--batch-size", 4)
    assert status == 0, errors
    texts = [f"clip.mp4/{number:05d}.lines.txt" for number in range(6)]
    assert files(tmp_path) == [*texts, "overlays/clip.mp4"]
    given, drawn = decoded(video), decoded(tmp_path / "overlays" / "clip.mp4")
    assert [image.shape for image in drawn] == [image.shape for image in given]
    assert cv2.VideoCapture(str(tmp_path / "overlays" / "clip.mp4")).get(cv2.CAP_PROP_FPS) == RATE
    inferencer = LaneInferencer(FLOAT_CONFIG, CHECKPOINT, show_progress=False)
    predictions = inferencer(given, batch_size=4, overlay=False)["predictions"]
    for text, frame, before, after in zip(texts, predictions, given, drawn):
        lanes = read_lines(tmp_path / text)
        assert [lane.tolist() for lane in lanes] == frame["lines"]
        assert len(lanes) > 0
        # Blue where the lanes are, as it was elsewhere (MPEG-4 and the scores blur a little).
        blue = after.astype(int)[..., 0] - after[..., 2]
        on_lane = np.concatenate([lane[2:-2] for lane in lanes]).astype(int)
        assert np.median(blue[on_lane[:, 1], on_lane[:, 0]]) > 80
        assert np.abs(after.astype(int) - before).mean() < 12


def test_pictures_folders_and_videos_go_together(command, video, pictures, roads, tmp_path):
    one = tmp_path / "in" / "clip.png"
    one.parent.mkdir()
    cv2.imwrite(str(one), cv2.imread(str(pictures[0])))
    status, printed, errors = command(
        "infer", FLOAT_CONFIG, CHECKPOINT, one, video, roads / "test", "--out", tmp_path / "out"
    )
    assert status == 0, errors
    assert "lanes of 13 frames" in printed
    drawn = [name for name in files(tmp_path / "out") if name.startswith("overlays/")]
    assert len(drawn) == 8
    assert {"overlays/clip.jpg", "overlays/clip.mp4"} < set(drawn)
    assert sum(name.endswith(".lines.txt") for name in files(tmp_path / "out")) == 13


def truncated_image(folder: Path, pictures: list[Path], video: Path) -> list:
    shutil.copy(pictures[0], folder / "whole.jpg")
    (folder / "z_cut.jpg").write_bytes(pictures[1].read_bytes()[:9000])
    return [folder]


def damaged_video(folder: Path, pictures: list[Path], video: Path) -> list:
    (folder / "cut.mp4").write_bytes(video.read_bytes()[:5000])
    return [pictures[0], folder / "cut.mp4"]


def one_name_twice(folder: Path, pictures: list[Path], video: Path) -> list:
    cv2.imwrite(str(folder / f"{pictures[0].stem}.png"), np.zeros((9, 9, 3), np.uint8))
    return [pictures[0], folder / f"{pictures[0].stem}.png"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (truncated_image, "z_cut.jpg is truncated or no image"),
        (damaged_video, "cut.mp4 cannot be read as a video"),
        (one_name_twice, "would be written under one name"),
        (lambda folder, pictures, video: [folder], "no image in"),
        (lambda folder, pictures, video: [folder / "nowhere"], "nowhere does not exist"),
    ],
)
def test_an_input_that_cannot_be_read_is_one_line_and_nothing_is_written(
    inputs, message, command, pictures, video, tmp_path
):
    (tmp_path / "in").mkdir()
    given = inputs(tmp_path / "in", pictures, video)
    status, printed, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, *given, "--out", tmp_path / "out")
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (FLOAT_CONFIG, ROOT / "mmsf" / "zoo" / "scnn_tiny_synthetic.pth", "looks like SCNN, but the config is of LSTR"),
        (FLOAT_CONFIG, "nowhere.pth", "nowhere.pth is not there"),
        (FLOAT_CONFIG, FLOAT_CONFIG, "cannot be read as a checkpoint"),
        ("nothing.py", CHECKPOINT, "config nothing.py does not exist"),
    ],
)
def test_wrong_weights_or_config_are_one_line_and_nothing_is_written(config, weights, message, command, pictures, tmp_path):
    status, printed, errors = command("infer", config, weights, pictures[0], "--out", tmp_path / "out")
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["", "driver_synthetic", "../frames"])
def test_outputs_among_the_inputs_are_refused_and_labels_stay(out, command, roads, tmp_path):
    frames = tmp_path / "frames"
    shutil.copytree(roads / "test", frames)
    before = {name: (frames / name).read_bytes() for name in files(frames)}
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, frames, "--out", frames / out)
    assert status == 2
    assert "lie in each other" in errors
    (picture,) = sorted(frames.rglob("*.jpg"))[:1]
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, picture, "--out", picture.parent)
    assert status == 2
    assert "lie in each other" in errors
    assert {name: (frames / name).read_bytes() for name in files(frames)} == before


def test_a_file_in_place_of_the_folder_is_refused_and_stays(command, pictures, tmp_path):
    (tmp_path / "out").write_text("mine")
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, pictures[0], "--out", tmp_path / "out")
    assert status == 2
    assert "out is a file; give a folder" in errors
    assert (tmp_path / "out").read_text() == "mine"


def test_a_batch_of_none_is_refused(command, pictures, tmp_path):
    status, _, errors = command("infer", FLOAT_CONFIG, CHECKPOINT, pictures[0], "--out", tmp_path, "--batch-size", 0)
    assert status == 2
    assert "--batch-size 0" in errors
