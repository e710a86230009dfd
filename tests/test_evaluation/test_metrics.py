"""The metrics in MMEngine's evaluator, fed with samples as detectors return them."""

import copy
import json
import lzma
import tracemalloc

import numpy as np
import pytest
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from test_evaluation.cases import DATA

import mmsf.evaluation
from mmsf.engine.recorder import LaneRecorder
from mmsf.errors import UserError
from mmsf.evaluation.agreement import agreement, compare_frames
from mmsf.evaluation.culane_score import CHUNK
from mmsf.lanes.culane import CATEGORIES, lines_path, read_lines, read_list
from mmsf.lanes.lane import Lane
from mmsf.lanes.tusimple import read_frames
from mmsf.registry import METRICS, TASK_UTILS

SIZE = (590, 1640)


def instances(lines):
    data = InstanceData()
    data.lines = lines
    return data


def sample(predicted, labelled=None, floating=None, **meta):
    result = DetDataSample(metainfo={"ori_shape": SIZE, **meta})
    result.pred_instances = instances(predicted)
    if labelled is not None:
        result.gt_instances = instances(labelled)
    if floating is not None:
        result.float_instances = instances(floating)
    return result


def evaluate(metric, samples, batch=7):
    evaluator = Evaluator([METRICS.build(metric)])
    for begin in range(0, len(samples), batch):
        evaluator.process(samples[begin : begin + batch])
    return evaluator.evaluate(len(samples))


def lane(x, top=300, slant=0.0):
    y = np.arange(589, top, -10.0)
    return np.stack([x + slant * (589 - y), y], 1)


def test_culane_metric_equals_the_official_evaluator_over_all_and_by_category(culane_cases, culane_official):
    folder = culane_cases / "seed1"
    samples = []
    for number, category in enumerate(CATEGORIES):
        for name in read_list(folder / "list" / "test_split" / f"test{number}_{category}.txt"):
            lines = [read_lines(lines_path(folder / side, name)) for side in ("pred", "gt")]
            samples.append(sample(*lines, category=category))
    metrics = evaluate({"type": "CULaneMetric"}, samples)
    official = culane_official["seed1"]["sum_of_categories_iou0.5"]
    assert [metrics[f"CULane/{key}"] for key in ("tp", "fp", "fn")] == [official[key] for key in ("tp", "fp", "fn")]
    for key in ("F1", "precision", "recall"):
        assert metrics[f"CULane/{key}"] == pytest.approx(official[key], abs=1e-12)
    for number, category in enumerate(CATEGORIES):
        of_category = culane_official["seed1"]["per_category_iou0.5"][f"test{number}_{category}"]
        assert metrics[f"CULane/{category}/fp"] == of_category["fp"]
        if category != "cross":
            assert metrics[f"CULane/{category}/F1"] == pytest.approx(of_category["F1"], abs=1e-12)
    assert [key for key in metrics if "cross" in key] == ["CULane/cross/fp"]


def test_culane_metric_draws_on_each_frames_own_image():
    beyond = [np.array([[700.0, 1100], [720, 800]])]  # outside 590 rows, inside 1200
    assert evaluate({"type": "CULaneMetric"}, [sample(beyond, beyond)])["CULane/tp"] == 0
    mixed = [sample(beyond, beyond, ori_shape=(1200, 1600)), sample([lane(5)], [lane(5)]), sample(beyond, beyond)]
    metrics = evaluate({"type": "CULaneMetric"}, mixed)
    assert [metrics[f"CULane/{key}"] for key in ("tp", "fp", "fn")] == [2, 1, 1]


def test_a_narrower_or_stricter_rule_finds_fewer_lanes():
    samples = [sample([lane(500)], [lane(508)])]
    assert evaluate({"type": "CULaneMetric"}, samples)["CULane/F1"] == 1
    assert evaluate({"type": "CULaneMetric", "width": 8}, samples)["CULane/F1"] == 0
    assert evaluate({"type": "CULaneMetric", "iou_threshold": 0.75}, samples)["CULane/F1"] == 0


@pytest.mark.parametrize("metric", ["CULaneMetric", "TuSimpleMetric", "LaneAgreement"])
def test_a_sample_without_what_the_metric_compares_is_refused_by_name(metric):
    with pytest.raises(UserError, match=r"road/7\.jpg"):
        evaluate({"type": metric}, [sample([lane(3)], relative_path="road/7.jpg", h_samples=np.array([300.0]))])


def test_tusimple_metric_equals_the_official_one(tmp_path):
    folder = DATA / "tusimple_metric"
    frames = {}
    for name in ("gt_1", "pred_1"):
        path = tmp_path / f"{name}.json"
        path.write_bytes(lzma.decompress((folder / path.name).with_suffix(".json.xz").read_bytes()))
        frames[name] = {frame.raw_file: frame for frame in read_frames(path, h_samples=False)}
    official = json.loads((folder / "official.json").read_text())["seed1"]
    # A prediction's own gaps would be bridged and slow frames are the files' affair: take the frames without either.
    samples, expected = [], []
    for name, truth in frames["gt_1"].items():
        found, rows = frames["pred_1"][name], truth.h_samples
        whole = all((np.diff(np.flatnonzero(xs >= 0)) == 1).all() for xs in found.lanes)
        if whole and found.run_time <= 200:
            lines = [np.stack([xs, rows], 1)[xs >= 0] for xs in found.lanes]
            samples.append(sample(lines, truth.lines(), ori_shape=(720, 1280), h_samples=rows))
            expected.append(official["frames"][name])
    assert len(samples) > 100
    metrics = evaluate({"type": "TuSimpleMetric"}, samples)
    mean = np.mean(expected, 0)
    assert [metrics[f"TuSimple/{key}"] for key in ("accuracy", "FP", "FN")] == pytest.approx(mean.tolist(), abs=1e-12)
    precision, recall = 1 - mean[1], 1 - mean[2]
    assert metrics["TuSimple/F1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_equal_lanes_agree_completely_and_need_no_labels():
    lines = [lane(400), lane(900, slant=0.5)]
    metrics = evaluate({"type": "LaneAgreement"}, [sample(lines, floating=lines), sample([], floating=[])])
    assert metrics == {"agreement/F1": 1, "agreement/mean_distortion": 0, "agreement/mean_shift": 0}


def test_agreement_falls_with_the_shift_and_counts_its_pixels():
    before = None
    for shift in (1, 4, 9, 25):
        metrics = evaluate({"type": "LaneAgreement"}, [sample([lane(400 + shift)], floating=[lane(400)])])
        assert metrics["agreement/mean_shift"] == pytest.approx(shift)
        assert before is None or metrics["agreement/mean_distortion"] > before["agreement/mean_distortion"]
        before = metrics
    assert before["agreement/F1"] == 0


def test_lanes_with_points_outside_agree_with_themselves():
    floating = sample([np.stack([lane(-40, slant=0.5)[:, 0], lane(0)[:, 1]], 1), lane(900)]).to_dict()
    given = {"data_samples": [DetDataSample(metainfo={"ori_shape": SIZE, "img_path": "a.jpg"})]}
    adapter = TASK_UTILS.build(dict(type="ConfiguredAdapter", confidences=dict(lane="logits"), semantics=dict(x="x")))
    lanes: dict = {}
    for floats in (None, lanes):
        metric, seen = METRICS.build({"type": "LaneAgreement"}), copy.deepcopy([floating])
        recorder = LaneRecorder(lanes, adapter, floats)
        recorder.process(given, seen)
        recorder.compute_metrics(recorder.results)
        metric.process(given, seen)
        assert metric.compute_metrics(metric.results) == {"F1": 1, "mean_distortion": 0, "mean_shift": 0}
    assert (lanes["a.jpg"]["lines"][0] >= 0).all()


def test_plain_predictions_are_compared_at_their_images_size_which_the_recorder_knows():
    given = {"data_samples": [DetDataSample(metainfo={"ori_shape": SIZE, "img_path": "a.jpg"})]}
    adapter = TASK_UTILS.build(dict(type="ConfiguredAdapter", confidences=dict(lane="logits"), semantics=dict(x="x")))
    metric, lanes = METRICS.build({"type": "LaneAgreement"}), {}
    plain = [{"pred_instances": {"lines": [lane(400)]}}]
    LaneRecorder(lanes, adapter, None).process(given, plain)
    metric.process(given, plain)
    assert metric.compute_metrics(metric.results)["F1"] == 1
    with pytest.raises(UserError, match="a prediction has no ori_shape"):
        metric.process(given, [{"pred_instances": {"lines": [lane(400)]}, "float_instances": {"lines": []}}])


def test_the_memory_of_a_comparison_does_not_grow_with_the_frames():
    def peak(frames: int) -> int:
        lanes = [[lane(50 + 10 * number) for number in range(20)]] * frames
        tracemalloc.start()
        found = compare_frames(lanes, lanes, SIZE, row_step=100)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [frame.distortion for frame in found] == [0] * frames
        return largest

    assert peak(8 * CHUNK) < 2 * peak(CHUNK)


def test_metrics_keep_what_every_frame_counts():
    samples = [
        sample([lane(500), lane(900)], [lane(505)], relative_path="a.jpg", h_samples=np.arange(309.0, 590, 10)),
        sample([], [lane(505)], relative_path="b.jpg", h_samples=np.arange(309.0, 590, 10)),
    ]
    for name, expected in (("CULaneMetric", [[1, 1, 0], [0, 0, 1]]), ("TuSimpleMetric", [[1, 0.5, 0], [0, 0, 1]])):
        metric = METRICS.build({"type": name})
        Evaluator([metric]).offline_evaluate(samples, chunk_size=1)
        assert metric.frame_scores == list(zip(("a.jpg", "b.jpg"), expected))
    assert metric.frame_columns == ("accuracy", "fp", "fn")


def test_agreement_of_lists_equals_the_metric_and_takes_lanes():
    floating, quantized = [[lane(400), lane(800)], [lane(50)]], [[lane(406)], [lane(52), lane(1200)]]
    figures = agreement(floating, [[Lane(points) for points in frame] for frame in quantized], sizes=[SIZE, SIZE])
    metrics = evaluate({"type": "LaneAgreement"}, [sample(q, floating=f) for q, f in zip(quantized, floating)])
    assert {f"agreement/{key}".replace("f1", "F1"): value for key, value in figures.items()} == metrics
    assert agreement([[]], [[]]) == {"f1": 1.0, "mean_distortion": 0.0, "mean_shift": 0.0}
    assert agreement(floating, floating)["f1"] == 1


def test_names_are_all_there():
    assert all(hasattr(mmsf.evaluation, name) for name in mmsf.evaluation.__all__)
