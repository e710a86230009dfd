"""TuSimple's score against the results of the official ``lane.py``."""

import json
import lzma

import numpy as np
import pytest
from test_evaluation.cases import DATA

from mmsf.errors import UserError
from mmsf.evaluation.tusimple_score import TuSimpleScore, mean_score, score_frame, score_frames
from mmsf.lanes.tusimple import TuSimpleFrame, read_frames

FOLDER = DATA / "tusimple_metric"
EDGE = json.loads((FOLDER / "edge_tusimple.json").read_text())


@pytest.fixture
def files(tmp_path):
    for name in ("gt_1", "pred_1"):
        (tmp_path / f"{name}.json").write_bytes(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes()))
    return tmp_path / "gt_1.json", tmp_path / "pred_1.json"


def test_every_frame_and_the_mean_equal_the_official_ones(files):
    official = json.loads((FOLDER / "official.json").read_text())["seed1"]
    scores = score_frames(read_frames(files[0]), read_frames(files[1], h_samples=False, run_time=True))
    assert set(scores) == set(official["frames"])
    for name, score in scores.items():
        assert (score.accuracy, score.fp, score.fn) == pytest.approx(official["frames"][name], abs=1e-12), name
    mean = mean_score(scores.values())
    assert (mean.accuracy, mean.fp, mean.fn) == pytest.approx(
        (official["Accuracy"], official["FP"], official["FN"]), abs=1e-12
    )


@pytest.mark.parametrize("case", EDGE)
def test_an_edge_case_equals_the_official_result(case):
    frame = EDGE[case]
    score = score_frame(frame["gt"], frame["pred"], frame["h_samples"], frame["run_time"])
    assert (score.accuracy, score.fp, score.fn) == pytest.approx(frame["result"], abs=1e-12)


def test_f1_follows_from_the_rates():
    assert TuSimpleScore(0.9, 0.2, 0.4).f1 == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert TuSimpleScore(0.0, 1.0, 1.0).f1 == 0


def frame(name, lanes=()):
    return TuSimpleFrame(name, [np.array(lane, float) for lane in lanes], np.array([100.0, 110.0]), 10.0)


@pytest.mark.parametrize(
    ("labelled", "predicted", "message"),
    [
        ([], [], "no frame"),
        (["a"], [], "no prediction"),
        (["a"], ["b"], "not in the label file"),
        (["a"], ["a", "a"], "twice"),
        (["a", "a"], ["a"], "twice"),
    ],
)
def test_files_that_do_not_correspond_are_refused(labelled, predicted, message):
    with pytest.raises(UserError, match=message):
        score_frames([frame(name) for name in labelled], [frame(name) for name in predicted])


def test_a_lane_of_another_length_is_refused():
    with pytest.raises(UserError, match="'a'"):
        score_frames([frame("a")], [frame("a", [[1.0, 2.0, 3.0]])])


def test_predictions_on_further_rows_are_read_at_the_labels(files):
    labelled, predicted = read_frames(files[0]), read_frames(files[1], h_samples=False, run_time=True)
    rows = {one.raw_file: one.h_samples for one in labelled}
    above = np.array([1.0, 2.0, 3.0])
    wider = [
        TuSimpleFrame(
            one.raw_file,
            [np.concatenate([above, lane]) for lane in one.lanes],
            np.concatenate([above, rows[one.raw_file]]),
            one.run_time,
        )
        for one in predicted
    ]
    assert score_frames(labelled, wider) == score_frames(labelled, predicted)


def test_predictions_that_lack_a_row_of_the_label_are_refused():
    found = TuSimpleFrame("a", [np.array([5.0, 6.0])], np.array([90.0, 100.0]), 10.0)
    with pytest.raises(UserError, match="'a': the predicted h_samples lack row 110 of the label's"):
        score_frames([frame("a", [[1.0, 2.0]])], [found])
