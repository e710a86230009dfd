"""The adapter that a config describes, on detectors that mmsf does not know."""

import copy
from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from originals import ROOT
from torch import nn
from unknown_detectors import DETECTORS, SIZE

from mmsf.adapters import ConfiguredAdapter, HeadOutputs
from mmsf.adapters.named_outputs import Confidence
from mmsf.datasets.synthetic import draw_frame
from mmsf.errors import UserError
from mmsf.lanes.distortion import DistortionRule
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.registry import MODELS
from mmsf.sensitivity.scoring import DistortionScorer

FRAMES = 3
META = dict(ori_shape=(320, 640), img_shape=SIZE)
# What a network returns, to try descriptions on.
RAW = {
    "logits": (2, 6, 2),
    "curves": (2, 6, 4),
    "heat": (2, 1, 5, 7),
    "offsets": (2, 2, 5, 7),
    "grid": (2, 9, 5, 3),
    "exist": (2, 3),
    "square": (2, 3, 3, 4),
}


def metas(count: int = FRAMES) -> list[dict]:
    return [dict(META) for _ in range(count)]


def images(count: int = FRAMES, seed: int = 1) -> torch.Tensor:
    return 3 * torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def detector_and_adapter(name: str) -> tuple[nn.Module, ConfiguredAdapter]:
    kind, description = DETECTORS[name]
    torch.manual_seed(0)
    detector = kind().eval()
    adapter = ConfiguredAdapter(**copy.deepcopy(description))
    adapter.bind(detector, SIZE)
    return detector, adapter


@torch.no_grad()
def heads_of(detector: nn.Module, adapter: ConfiguredAdapter, batch: torch.Tensor) -> HeadOutputs:
    return adapter.split(adapter.by_name(detector(batch, mode="tensor")))


@torch.no_grad()
def predicted(detector: nn.Module, adapter: ConfiguredAdapter, batch: torch.Tensor) -> list:
    samples = [BaseDataElement(metainfo=meta) for meta in metas(len(batch))]
    found = detector(batch, samples, mode="predict")
    return [adapter.lanes_in(one, meta) for one, meta in zip(found, metas(len(batch)))]


def assert_same_lanes(found: list, wanted: list) -> None:
    assert [len(lanes) for lanes in found] == [len(lanes) for lanes in wanted]
    for ours, theirs in zip(chain(*found), chain(*wanted)):
        np.testing.assert_allclose(ours.points, theirs.points, atol=1e-3)
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


@pytest.mark.parametrize("name", DETECTORS)
def test_heads_that_are_put_back_give_the_lanes_of_predict(name):
    detector, adapter = detector_and_adapter(name)
    batch = images(5)
    wanted = predicted(detector, adapter, batch)
    assert sum(map(len, wanted)) > 0
    assert_same_lanes(adapter.decode(heads_of(detector, adapter, batch), metas(5)), wanted)


@pytest.mark.parametrize("name", DETECTORS)
def test_changed_heads_give_what_predict_would_make_of_them(name):
    detector, adapter = detector_and_adapter(name)
    ours, others = (heads_of(detector, adapter, images(seed=seed)) for seed in (1, 2))
    mixed = HeadOutputs(others.semantics, others.confidences, ours.constants)
    lanes = adapter.decode(mixed, metas())
    if name != "queries":  # its raw outputs hold an earlier stage too, which is no head
        assert_same_lanes(lanes, predicted(detector, adapter, images(seed=2)))
    assert_same_lanes(lanes, adapter.decode(others, metas()))


@pytest.mark.parametrize("name", DETECTORS)
def test_no_layer_runs_while_heads_are_decoded(name):
    detector, adapter = detector_and_adapter(name)
    heads = heads_of(detector, adapter, images())
    adapter.decode(heads, metas())
    for parameter in detector.parameters():
        parameter.data.fill_(torch.nan)
    again = adapter.decode(heads, metas())
    assert all(np.isfinite(lane.points).all() for lane in chain(*again))
    assert sum(map(len, again)) > 0


@pytest.mark.parametrize("name", DETECTORS)
def test_gates_broadcast_onto_their_heads(name):
    detector, adapter = detector_and_adapter(name)
    heads = heads_of(detector, adapter, images())
    for head in adapter.semantic_heads:
        gate = adapter.gate(heads, head)
        assert gate.expand_as(heads.semantics[head]).shape == heads.semantics[head].shape
        assert (gate >= 0).all()
        assert (gate <= 1).all()


def test_decoding_changes_no_head():
    detector, adapter = detector_and_adapter("keypoints")  # its predict works in place
    heads = heads_of(detector, adapter, images())
    before = copy.deepcopy(heads)
    adapter.decode(heads, metas())
    for group in ("semantics", "confidences", "constants"):
        for name, tensor in getattr(before, group).items():
            assert torch.equal(tensor, getattr(heads, group)[name])


def test_scores_are_taken_in_one_frame_whatever_the_image_s_size():
    detector, adapter = detector_and_adapter("queries")
    heads = heads_of(detector, adapter, images())
    noisy = heads.semantics["curve"] + 0.3
    scores = [
        DistortionScorer(adapter, heads, [dict(ori_shape=size)] * FRAMES, DistortionRule())("curve", noisy)
        for size in ((320, 640), (1280, 2560))
    ]
    assert scores[0].sum() > 0
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_a_confidence_can_be_replaced():
    detector, adapter = detector_and_adapter("queries")
    heads = heads_of(detector, adapter, images())
    certain = torch.zeros_like(heads.confidences["lane"])
    certain[:, 2] = 1.0
    lanes = adapter.decode(HeadOutputs(heads.semantics, {"lane": certain}, heads.constants), metas())
    assert [len(found) for found in lanes] == [1] * FRAMES
    assert all(found[0].score > 0.99 for found in lanes)


SOFTMAX = [dict(activation="softmax", **{kind: number}) for kind, number in (("index", 1), ("index", -1), ("background", 0))]


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([dict(), dict(activation="none"), *SOFTMAX]),
    classes=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_raw_outputs_are_found_for_any_probabilities(kind, classes, seed):
    spec = Confidence.parse("lane", dict(output="x", **kind))
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, 3, classes, generator=generator)
    wanted = torch.rand(spec.probabilities([raw]).shape, generator=generator) * 0.98 + 0.01
    spec.write_probabilities([raw], wanted)
    torch.testing.assert_close(spec.probabilities([raw]), wanted, rtol=1e-4, atol=1e-5)


class Returns(nn.Module):
    """Returns tensors of given shapes, all depending on the image."""

    def forward(self, inputs, data_samples=None, mode="tensor"):
        noise = inputs.mean((1, 2, 3))
        raw = {
            name: torch.zeros(len(noise), *shape[1:]) + noise.view(-1, *[1] * len(shape[1:])) for name, shape in RAW.items()
        }
        return {**raw, "anchors": torch.zeros(6, 4), "nested": [raw["heat"] * 2, (raw["curves"] * 2,)]}


def bound(**description) -> ConfiguredAdapter:
    adapter = ConfiguredAdapter(**description)
    adapter.bind(Returns().eval(), SIZE)
    return adapter


LANE = dict(output="logits", activation="softmax", index=1)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (dict(confidences={}, semantics=dict(curve="curves")), ["no confidence"]),
        (dict(confidences=dict(lane=LANE), semantics={}), ["no semantic head"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve="bbox")), ["'bbox'", "curves (2, 6, 4)"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve="nested.3")), ["'nested.3'", "nested.1.0"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve="level.*")), ["'level.*'"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve="anchors")), ["anchors", "batch"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve=dict(channels=2))), ["curve", "output=PATH"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve=dict(output="curves", kind=1))), ["'kind'", "channels"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(curve=dict(output="curves", channels=(1, 2, 3)))), ["(1, 2, 3)"]),
        (
            dict(confidences=dict(lane=LANE), semantics=dict(curve=dict(output="curves", channels=9))),
            ["channels=9", "(2, 6, 4)"],
        ),
        (
            dict(confidences=dict(lane=dict(output="heat", activation="relu")), semantics=dict(m="offsets")),
            ["'relu'", "sigmoid"],
        ),
        (
            dict(confidences=dict(lane=dict(output="logits", activation="softmax")), semantics=dict(c="curves")),
            ["index=CLASS"],
        ),
        (dict(confidences=dict(lane=dict(output="logits", index=1)), semantics=dict(c="curves")), ["index=CLASS"]),
        (dict(confidences=dict(lane=dict(LANE, index=4)), semantics=dict(c="curves")), ["class 4"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(lane="curves")), ["'lane'", "name of its own"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(a="curves", b="curves")), ["'b'", "already"]),
        (dict(confidences=dict(lane=LANE, heat="heat"), semantics=dict(c="curves")), ["gate='lane' or gate='heat'"]),
        (dict(confidences=dict(lane=LANE), semantics=dict(c=dict(output="curves", gate="x"))), ["'x'", "lane"]),
        (
            dict(confidences=dict(lane="heat"), semantics=dict(c="curves")),
            ["(5, 7)", "does not broadcast", "'c'", "gate_axes"],
        ),
        (
            dict(confidences=dict(lane="exist"), semantics=dict(c=dict(output="square", axis=3))),
            ["does not broadcast", "gate_axes"],
        ),
        (dict(confidences=dict(lane="exist"), semantics=dict(c=dict(output="square", gate_axes=(3,)))), ["gate_axes=(3,)"]),
        (dict(confidences=dict(lane="exist"), semantics=dict(c=dict(output="square", gate_axes=(0,)))), ["gate_axes=(0,)"]),
        (dict(confidences=dict(lane="heat"), semantics=dict(c=dict(output="offsets", axis=7))), ["axis=7", "'offsets'"]),
        (dict(confidences=dict(lane="heat"), semantics=dict(c=dict(output="offsets", anchors=3))), ["3 anchors"]),
        (dict(confidences=dict(lane="heat"), semantics=dict(c="offsets"), coordinates="metres"), ["'metres'", "unit"]),
    ],
)
def test_a_wrong_description_is_one_clear_line(description, words):
    with pytest.raises(UserError) as caught:
        bound(**description)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("description", "shape"),
    [
        (dict(confidences=dict(c=LANE), semantics=dict(s="curves")), (2, 6, 1)),
        (dict(confidences=dict(c="heat"), semantics=dict(s="offsets")), (2, 5, 7, 1)),
        (dict(confidences=dict(c="nested.0"), semantics=dict(s="offsets")), (2, 5, 7, 1)),
        (
            dict(confidences=dict(c=dict(output="grid", activation="softmax", background=-1)), semantics=dict(s="grid")),
            (2, 5, 3, 1),
        ),
        (dict(confidences=dict(c="exist"), semantics=dict(s="grid")), (2, 1, 3, 1)),
        (dict(confidences=dict(c="exist"), semantics=dict(s=dict(output="square", gate_axes=(2,)))), (2, 3, 1, 1)),
        (dict(confidences=dict(c="exist"), semantics=dict(s=dict(output="square", gate_axes=(1,)))), (2, 1, 1, 3)),
        (dict(confidences=dict(c="heat"), semantics=dict(s=dict(output="curves", gate_axes=(None, None)))), (2, 1, 1)),
        (dict(confidences=dict(c="heat"), semantics=dict(s=dict(output="exist", gate_axes=(None, None)))), (2, 1, 1)),
    ],
)
def test_how_a_confidence_is_laid_over_a_head(description, shape):
    adapter = bound(**description)
    with torch.no_grad():
        heads = adapter.split(adapter.by_name(adapter._detector(torch.zeros(2, 3, *SIZE))))
    assert adapter.gate(heads, "s").shape == shape


class TwoWays(nn.Module):
    """``predict`` computes its outputs otherwise than mode 'tensor'."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Conv2d(3, 3, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        hidden = self.layer(inputs)
        if mode == "predict" and self.way == "other operations":
            hidden = hidden.tanh()
        heat, offset = hidden[:, :1] * 1.0, hidden[:, 1:] * 1.0
        if mode == "tensor":
            return heat, offset
        if self.way == "reads the image":
            offset = offset + inputs[:, :2]
        return [[offset[n, :, :2, 0].abs().T + heat[n, 0, 0, :2, None]] for n in range(len(heat))]


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("other operations", ["'0'", "mode='tensor'", "one method"]),
        ("reads the image", ["predict reads something", "mode='tensor'"]),
    ],
)
def test_a_predict_that_cannot_be_followed_is_refused(way, words):
    torch.manual_seed(0)
    adapter = ConfiguredAdapter(confidences=dict(c="0"), semantics=dict(s="1"))
    detector = TwoWays(way).eval()
    adapter.bind(detector, SIZE)
    samples = [BaseDataElement(metainfo=dict(META)) for _ in range(FRAMES)]
    with pytest.raises(UserError) as caught:
        adapter.check_decoding(images(), samples)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["queries", "rows", "pyramid"])
def test_a_detector_that_predicts_as_described_passes_the_check(name):
    detector, adapter = detector_and_adapter(name)
    adapter.check_decoding(images(), [BaseDataElement(metainfo=meta) for meta in metas()])
    assert detector is adapter._detector


@pytest.fixture(scope="module")
def lstr() -> nn.Module:
    """mmsf's own trained LSTR, which has an adapter to compare with."""
    config = Config.fromfile(ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py")
    model = MODELS.build(config.model).eval()
    load_float_checkpoint(model, ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth")
    return model


def test_a_family_described_scores_as_its_own_adapter_does(lstr):
    size = (144, 400)
    described = ConfiguredAdapter(
        confidences=dict(lane=dict(output="logits", activation="softmax", index=1)),
        semantics=dict(range=dict(output="curves", channels=(0, 2)), offset=dict(output="curves", channels=(6, 8))),
    )
    described.bind(lstr, size)
    frames = [draw_frame(7, number).image for number in range(2)]
    batch = torch.stack([torch.from_numpy(cv2.resize(frame, size[::-1])).permute(2, 0, 1) for frame in frames])
    batch = lstr.data_preprocessor(dict(inputs=batch, data_samples=None))["inputs"]
    with torch.no_grad():
        raw = lstr(batch, mode="tensor")
    own = [dict(ori_shape=frame.shape[:2]) for frame in frames]
    ours, theirs = described.split(described.by_name(raw)), lstr.adapter.split(raw)
    wanted = lstr.adapter.decode(theirs, own)
    assert sum(map(len, wanted)) > 2
    assert_same_lanes(described.decode(ours, own), wanted)
    scorers = [DistortionScorer(a, heads, own, DistortionRule()) for a, heads in ((described, ours), (lstr.adapter, theirs))]
    for name in described.semantic_heads:
        torch.testing.assert_close(ours.semantics[name], theirs.semantics[name])
        torch.testing.assert_close(described.gate(ours, name), lstr.adapter.gate(theirs, name))
        noise = 0.02 * torch.randn(ours.semantics[name].shape, generator=torch.Generator().manual_seed(3))
        scores = [scorer(name, theirs.semantics[name] + noise) for scorer in scorers]
        assert scores[1].sum() > 0
        np.testing.assert_allclose(*scores, rtol=1e-5)
