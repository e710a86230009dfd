"""CLRNet's and CLRerNet's heads: decoded as the original projects decode them, and taken apart without loss."""

import logging.handlers

import goldens_rule
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from originals import ROOT, assert_lanes_equal

from mmsf.adapters import CLRerNetAdapter, CLRNetAdapter
from mmsf.adapters.clr import LaneFunction
from mmsf.models.detectors.base import as_instances

GOLDENS = ROOT / "tests" / "data" / "goldens"
META = {"ori_shape": (590, 1640)}
ROWS = np.arange(0, 590, 2) / 590
# The authors' own rules for CULane; the adapter's defaults are onedl-mmdetection's.
AUTHORS = dict(input_size=(320, 800), threshold=0.4, nms_distance=50.0, max_lanes=4, crop_top=270, last_pixel=False)
FAMILIES = {"clrnet": CLRNetAdapter(**AUTHORS), "clrernet": CLRerNetAdapter()}


def post_cases(family: str) -> tuple[dict, list]:
    return goldens_rule.post_cases(GOLDENS / f"{family}_post_seed0.npz")


def raw_of(case: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in case["inputs"].items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_equals_the_original(family):
    meta, cases = post_cases(family)
    assert len(cases) == 2
    for case in cases:
        adapter = FAMILIES[family]
        lanes = adapter.decode(adapter.split(raw_of(case)), [META])[0]
        assert_lanes_equal(lanes, case["lanes"], meta["lane_tol_px"])


def test_a_batch_decodes_as_its_images_do():
    adapter, (_, cases) = FAMILIES["clrnet"], post_cases("clrnet")
    together = torch.cat([raw_of(case)["predictions"] for case in cases])
    for lanes, case in zip(adapter.decode(adapter.split({"predictions": together}), [META, META]), cases):
        assert_lanes_equal(lanes, case["lanes"], 0.01)


def test_clrernets_lanes_are_the_originals_functions():
    adapter, (_, cases) = FAMILIES["clrernet"], post_cases("clrernet")
    for case in cases:
        sample = DetDataSample(metainfo=dict(META, filename="a.jpg", sub_img_name="a.jpg"))
        adapter.complete([sample])
        sample.pred_instances = as_instances(adapter.decode(adapter.split(raw_of(case)), [META])[0])
        (found,) = adapter.own_form([sample])
        assert found["metainfo"]["sub_img_name"] == "a.jpg"
        np.testing.assert_allclose(found["scores"], case["extra"]["scores"], atol=1e-6)
        for number, lane in enumerate(found["lanes"]):
            np.testing.assert_allclose(lane(ROWS), case["extra"][f"spline.{number}"], atol=1e-6)


def test_clrernets_heads_give_the_rows_of_the_originals_lanes():
    """The golden holds confidences, anchors and lengths of all priors, and a part of the positions."""
    golden, stored = (read(GOLDENS / "clrernet_dla34_seed0.npz") for read in (goldens_rule.Golden, np.load))
    raw = {name: partial(stored, f"out.stage2.{name}") for name in ("cls_logits", "anchor_params", "lengths", "xs")}
    scores = raw["cls_logits"].softmax(-1)[0, :, 1].numpy()
    adapter = CLRerNetAdapter(nms_distance=None)
    assert len(golden.lanes()) == len(stored["dec.scores"]) == 4
    for score, points in zip(stored["dec.scores"], golden.lanes()):
        prior = int(np.abs(scores - score).argmin())
        one = {name: value[:, prior : prior + 1].clone() for name, value in raw.items()}
        row = np.rint((590 - points[:, 1]) / 320 * 71).astype(int)
        wanted = torch.full((72,), -1.0)  # where the lane has no point, it is beyond the border
        wanted[row] = torch.from_numpy(points[:, 0] / 1640).float()
        known = one["xs"][0, 0].isfinite()
        assert (known[row]).sum() >= 5
        one["xs"][0, 0] = torch.where(known, one["xs"][0, 0], wanted)
        ((lane,),) = adapter.decode(adapter.split(one), [META])
        assert_lanes_equal([lane], [points], golden.meta["lane_tol_px"])
        assert lane.score == pytest.approx(score, abs=1e-6)


def partial(stored, name: str) -> torch.Tensor:
    """A stored output, NaN where the golden has no value."""
    shape = stored[f"{name}.shape"]
    flat = np.full(shape.prod(), np.nan, np.float32)
    flat[stored[f"{name}.idx"]] = stored[f"{name}.val"]
    return torch.from_numpy(flat.reshape(shape))


@given(st.floats(-0.2, 0.6), st.floats(-0.2, 1.2), st.floats(-0.1, 1.1), st.integers(0, 9))
def test_heads_put_back_together_are_the_predictions(start_y, start_x, angle, seed):
    adapter = FAMILIES["clrnet"]
    predictions = torch.rand(1, 1, 78, generator=torch.Generator().manual_seed(seed)) * 3 - 1
    predictions[..., 2:5] = torch.tensor([start_y, start_x, angle])
    heads = adapter.split({"predictions": predictions.requires_grad_(True)})
    positions = adapter.positions(heads)
    # 0.01 pixels of the network's input.
    torch.testing.assert_close(positions, predictions[..., 6:], rtol=0, atol=0.01 / 800)
    heads.semantics["offsets"].sum().backward()
    assert predictions.grad.isfinite().all()


@pytest.mark.parametrize("head", CLRNetAdapter.semantic_heads)
def test_every_semantic_head_moves_the_decoded_lanes(head):
    adapter, (_, (case, _)) = FAMILIES["clrnet"], post_cases("clrnet")
    heads = adapter.split(raw_of(case))
    before = adapter.decode(heads, [META])[0]
    heads.semantics[head] = heads.semantics[head] + 0.05
    after = adapter.decode(heads, [META])[0]
    assert [lane.points.tolist() for lane in before] != [lane.points.tolist() for lane in after]
    assert adapter.gate(heads, head).shape == (1, 192, 1)


def test_onedls_samples_get_what_decoding_reads_and_keep_what_their_metric_reads():
    adapter = CLRNetAdapter((320, 800))
    sample = BaseDataElement(org_height=590, org_width=1640)
    adapter.complete([sample])
    assert sample.ori_shape == (590, 1640)
    _, (case, _) = post_cases("clrnet")
    sample.pred_instances = as_instances(adapter.decode(adapter.split(raw_of(case)), [META])[0])
    (found,) = adapter.own_form([sample])
    assert found is sample
    assert len(sample.pred_instances.lines) == len(sample.pred_instances.line_conf) > 0


def test_without_nms_too_the_most_confident_lane_comes_first():
    _, cases = post_cases("clrnet")
    adapter = CLRNetAdapter(**{**AUTHORS, "nms_distance": None})
    scores = [lane.score for lane in adapter.decode(adapter.split(raw_of(cases[0])), [META])[0]]
    assert len(set(scores)) > 1
    assert scores == sorted(scores, reverse=True)


def test_its_own_nms_is_announced():
    told = logging.handlers.BufferingHandler(10)
    logger = MMLogger.get_current_instance()
    logger.addHandler(told)
    try:
        CLRNetAdapter((320, 800), nms_distance=None)
        assert not told.buffer
        CLRNetAdapter((320, 800), nms_distance=25.0)
        (record,) = told.buffer
    finally:
        logger.removeHandler(told)
    assert "25 px are suppressed by mmsf's own line NMS" in record.getMessage()


def test_a_lane_function_is_undefined_beyond_its_points():
    lane = LaneFunction(np.array([[100.0, 200.0], [120.0, 300.0], [150.0, 400.0]]), (590, 1640))
    xs = lane(np.array([0.1, 200 / 590, 300 / 590, 0.9]))
    assert xs[[0, 3]].tolist() == [-2.0, -2.0]
    np.testing.assert_allclose(xs[1:3] * 1640, [100, 120], atol=1e-6)
