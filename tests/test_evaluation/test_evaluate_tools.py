"""The command lines of the two evaluators."""

import json
import lzma

import pytest
from test_evaluation.cases import DATA


def test_culane_lists_and_categories_in_one_run(command, culane_cases, culane_official, tmp_path):
    folder, out = culane_cases / "seed1", tmp_path / "new" / "scores.json"
    lists = ["--list", folder / "list" / "test.txt", "--list", folder / "list" / "test_split"]
    status, printed, errors = command(
        "evaluate_culane", "--gt", folder / "gt", "--pred", folder / "pred", *lists, "--processes", 2, "--json", out
    )
    assert (status, errors) == (0, "")
    assert "0.645720" in printed
    scores = json.loads(out.read_text())
    official = culane_official["seed1"]
    assert {key: scores[key] for key in ("tp", "fp", "fn")} == {key: official["iou0.5"][key] for key in ("tp", "fp", "fn")}
    assert scores["f1"] == pytest.approx(official["iou0.5"]["F1"], abs=1e-12)
    assert scores["categories"]["night"]["tp"] == official["per_category_iou0.5"]["test8_night"]["tp"]
    frames = {frame["frame"]: {key: frame[key] for key in ("tp", "fp", "fn")} for frame in official["frames_iou0.5"]}
    assert scores["frames"] == frames


def test_culane_categories_alone_add_up_to_the_overall_counts(command, culane_cases, tmp_path):
    folder, out = culane_cases / "seed1", tmp_path / "scores.json"
    command("evaluate_culane", "--gt", folder / "gt", "--pred", folder / "pred", "--list", folder / "list" / "test_split",
            "--iou", 0.5, "--width", 30, "--image-size", 1640, 590, "--json", out)  # fmt: skip
    assert {key: value for key, value in json.loads(out.read_text()).items() if key in ("tp", "fp", "fn")} == {
        "tp": 596,
        "fp": 377,
        "fn": 277,
    }


def test_culane_predictions_of_nothing_are_pointed_out_but_counted(command, culane_cases, tmp_path):
    folder = culane_cases / "seed1"
    status, printed, errors = command(
        "evaluate_culane", "--gt", folder / "gt", "--pred", tmp_path, "--list", folder / "list" / "test.txt"
    )
    assert status == 0
    assert "prediction" in errors
    assert printed.split("\n")[-2].split() == ["overall", "0", "0", "873", "-1.000000", "0.000000", "0.000000"]


@pytest.mark.parametrize(
    ("gt", "pred", "lists", "message"),
    [
        ("missing", "pred", "list/test.txt", "annotations"),
        ("gt", "missing", "list/test.txt", "predictions"),
        ("gt", "pred", "list/missing.txt", "missing.txt"),
        ("gt", "pred", "list", "category list"),
    ],
)
def test_culane_mistakes_end_with_one_line_and_status_2(command, culane_cases, gt, pred, lists, message):
    folder = culane_cases / "seed1"
    status, printed, errors = command(
        "evaluate_culane", "--gt", folder / gt, "--pred", folder / pred, "--list", folder / lists
    )
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors


@pytest.mark.parametrize(
    "wrong", [("--iou", "nan"), ("--iou", "-0.1"), ("--iou", "1"), ("--processes", "-3"), ("--processes", "0")]
)
def test_culane_numbers_that_mean_nothing_are_refused(command, culane_cases, wrong):
    folder = culane_cases / "seed1"
    given = ("--gt", folder / "gt", "--pred", folder / "pred", "--list", folder / "list" / "test.txt")
    status, printed, errors = command("evaluate_culane", *given, *wrong)
    assert (status, printed, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {' '.join(wrong)} ")


@pytest.fixture
def tusimple_files(tmp_path):
    for name in ("gt_1", "pred_1"):
        packed = DATA / "tusimple_metric" / f"{name}.json.xz"
        (tmp_path / f"{name}.json").write_bytes(lzma.decompress(packed.read_bytes()))
    return tmp_path / "gt_1.json", tmp_path / "pred_1.json"


def test_tusimple_prints_and_writes_the_official_figures(command, tusimple_files, tmp_path):
    out = tmp_path / "scores.json"
    status, printed, _ = command("evaluate_tusimple", "--gt", tusimple_files[0], "--pred", tusimple_files[1], "--json", out)
    assert status == 0
    assert "0.6868551587" in printed
    scores = json.loads(out.read_text())
    official = json.loads((DATA / "tusimple_metric" / "official.json").read_text())["seed1"]
    assert [scores[key] for key in ("accuracy", "FP", "FN")] == pytest.approx(
        [official[key] for key in ("Accuracy", "FP", "FN")], abs=1e-12
    )
    assert len(scores["frames"]) == 200


def test_tusimple_mistakes_name_file_and_line(command, tusimple_files):
    lines = tusimple_files[1].read_text().split("\n")
    tusimple_files[1].write_text("\n".join([lines[0], lines[1].replace("run_time", "time"), *lines[2:]]))
    status, printed, errors = command("evaluate_tusimple", "--gt", tusimple_files[0], "--pred", tusimple_files[1])
    assert (status, printed) == (2, "")
    assert "pred_1.json, line 2: run_time missing" in errors


def test_tusimple_frames_that_count_as_missed_for_their_time_are_pointed_out(command, tusimple_files):
    frames = [json.loads(line) for line in tusimple_files[1].read_text().splitlines()]
    texts = {}
    for slow in (0, 7):
        timed = [{**frame, "run_time": 200.5 if number < slow else 10} for number, frame in enumerate(frames)]
        tusimple_files[1].write_text("\n".join(map(json.dumps, timed)))
        status, texts[slow], errors = command("evaluate_tusimple", "--gt", tusimple_files[0], "--pred", tusimple_files[1])
        assert status == 0
    assert float(texts[7].split()[1]) < float(texts[0].split()[1])
    without = ", ".join(f"{name} {float(value):.4f}" for name, value in map(str.split, texts[0].splitlines()))
    assert errors == (f"warning: 7 frames of 200 took over 200 ms and count as missed; without this rule {without}\n")
