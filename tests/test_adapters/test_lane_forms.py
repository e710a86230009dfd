"""Lanes in the forms in which other people's detectors predict them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmsf.adapters.lane_forms import lanes_in
from mmsf.errors import UserError
from mmsf.lanes.lane import Lane

META = dict(ori_shape=(100, 200), img_shape=(50, 50))
POINTS = [[10.0, 90.0], [20.0, 50.0], [30.0, 10.0]]


def in_sample(**fields) -> BaseDataElement:
    sample = BaseDataElement()
    sample.pred_instances = InstanceData(**fields)
    return sample


@pytest.mark.parametrize(
    "prediction",
    [
        [POINTS],
        [np.array(POINTS)],
        torch.tensor([POINTS]),
        [Lane(POINTS)],
        dict(lanes=[torch.tensor(POINTS, requires_grad=True)]),
        dict(lines=[POINTS], metainfo={}),
        dict(lanes=[dict(points=POINTS)]),
        dict(lanes=[SimpleNamespace(points=torch.tensor(POINTS))]),
        SimpleNamespace(lanes=[POINTS]),
        in_sample(lines=[np.array(POINTS)], scores=np.ones(1)),
        in_sample(lanes=[POINTS]).to_dict(),
        [[*POINTS, [-2.0, 5.0], [np.nan, 5.0], [4.0, np.inf]]],
    ],
)
def test_lanes_are_found_in_every_form(prediction):
    (lane,) = lanes_in(prediction, META)
    np.testing.assert_allclose(lane.points, POINTS)
    assert lane.score == 1.0


@pytest.mark.parametrize(
    "prediction",
    [
        dict(lanes=[POINTS, POINTS], scores=torch.tensor([[0.25], [0.75]])),
        in_sample(lines=[POINTS, POINTS], scores=np.array([0.25, 0.75])),
        [Lane(POINTS, 0.25), Lane(POINTS, 0.75)],
        [SimpleNamespace(points=POINTS, metadata=dict(conf=score)) for score in (0.25, 0.75)],
        dict(lanes=[dict(points=POINTS, score=score) for score in (0.25, 0.75)]),
    ],
)
def test_scores_go_with_the_lanes(prediction):
    assert [lane.score for lane in lanes_in(prediction, META)] == [0.25, 0.75]


def test_a_score_of_zero_is_one():
    (lane,) = lanes_in([SimpleNamespace(points=POINTS, metadata=dict(conf=0.0))], META)
    assert lane.score == 0.0


def test_a_callable_lane_is_asked_at_rows_of_the_image():
    (lane,) = lanes_in([lambda y: np.where(y > 0.45, y / 2, -2.0)], META)
    np.testing.assert_allclose(lane.points, [[59, 59], [79, 79], [99, 99]])


@pytest.mark.parametrize(("coordinates", "factor"), [("unit", (200, 100)), ("input", (4, 2)), ("pixels", (1, 1))])
def test_coordinates_are_brought_to_the_original_image(coordinates, factor):
    (lane,) = lanes_in([POINTS], META, coordinates=coordinates)
    np.testing.assert_allclose(lane.points, np.array(POINTS) * factor)


def test_lanes_at_a_place_of_their_own():
    prediction = dict(result=SimpleNamespace(curves=[POINTS], scores=[0.5]))
    (lane,) = lanes_in(prediction, META, lanes="result.curves")
    np.testing.assert_allclose(lane.points, POINTS)
    assert lane.score == 0.5


def test_an_image_without_lanes():
    for prediction in (
        [],
        dict(lanes=[]),
        in_sample(lines=[], scores=np.zeros(0)),
        torch.zeros(0, 5, 2),
        [np.zeros((0, 2))],
    ):
        assert lanes_in(prediction, META) == []


@pytest.mark.parametrize(
    ("prediction", "lanes", "words"),
    [
        (dict(boxes=[POINTS]), None, ["no lanes found", "boxes", "adapter.lanes"]),
        (in_sample(bboxes=[POINTS]), None, ["no lanes found", "pred_instances"]),
        (dict(lanes=[POINTS]), "result.lanes", ["'result.lanes'", "leads nowhere"]),
        (dict(lanes=[[[1.0, 2.0, 3.0]]]), None, ["(P, 2)"]),
        (dict(lanes=["left"]), None, ["(P, 2)", "str"]),
        (dict(lanes=[POINTS], scores=[0.1, 0.2]), None, ["1 lanes", "2 scores"]),
    ],
)
def test_what_is_no_lane_is_one_clear_line(prediction, lanes, words):
    with pytest.raises(UserError) as caught:
        lanes_in(prediction, META, lanes=lanes)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
