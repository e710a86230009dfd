"""The error of features, and where the families have theirs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from small_condlane import images as condlane_images
from small_condlane import small as small_condlane
from small_detectors import images, small
from small_ganet import images as ganet_images
from small_ganet import small as small_ganet
from small_segmentation import images as segmentation_images
from small_segmentation import small as small_segmentation
from test_engine.runs import FLOAT_CONFIG

from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork
from mmsf.reconstruction import FeatureHint
from mmsf.reconstruction.hint import feature_error
from mmsf.registry import MODELS


@given(st.floats(1e-3, 1e3), st.integers(0, 9))
def test_the_error_has_no_unit_and_is_nothing_where_features_agree(scale, seed):
    one, other = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    assert feature_error([scale * one], [scale * other]).item() == pytest.approx(feature_error([one], [other]).item())
    assert feature_error([one, other], [one, other]).item() == 0
    assert feature_error([one], [0 * one]).item() == pytest.approx(1.0)


def test_the_hint_compares_the_last_runs_and_its_gradient_reaches_what_stands_before_the_features():
    detector, batch = small("laneatt"), images("laneatt", 2)
    network = QuantizedNetwork(detector, lambda one: one(batch), QuantizationSettings("w4a4"))
    with torch.no_grad(), network.observing() as histograms, network.running():
        network.network(batch)
    network.set_ranges(histograms, MSERange(), MSERange())
    hint = FeatureHint(detector, network.network, "conv1")
    kept = []
    handles = [
        one.conv1.register_forward_hook(lambda m, i, o: kept.append(o.detach())) for one in (network.network, detector)
    ]
    with network.running():
        network.network(batch)
    detector(batch)
    error = hint.error()
    torch.testing.assert_close(error.detach(), (kept[0] - kept[1]).square().mean() / kept[1].square().mean())
    assert error > 1e-4
    error.backward()
    reached = {name for name, parameter in network.network.named_parameters() if parameter.grad is not None}
    assert "backbone.conv1.layer.weight" in reached
    assert not any(name.startswith(("cls_layer", "reg_layer")) for name in reached)
    with network.in_float({name: weight.data for name, _, weight in network.quantized_weights()}), network.running():
        network.network(batch)
    detector(batch)
    assert hint.error().item() < 1e-9
    hint.close()
    detector(batch)
    assert hint._seen == {}
    for handle in handles:
        handle.remove()


DETECTORS = {
    "lstr": lambda: (MODELS.build(Config.fromfile(FLOAT_CONFIG).model).eval(), torch.rand(2, 3, 144, 400)),
    "scnn": lambda: (small_segmentation("scnn"), segmentation_images(2)),
    "resa": lambda: (small_segmentation("resa"), segmentation_images(2)),
    "laneatt": lambda: (small("laneatt"), images("laneatt", 2)),
    "bezier": lambda: (small("bezier"), images("bezier", 2)),
    "condlane": lambda: (small_condlane(), condlane_images(2)),
    "ganet": lambda: (small_ganet(), ganet_images(2)),
}


@torch.no_grad()
@pytest.mark.parametrize("family", DETECTORS)
def test_every_family_names_features_on_the_way_to_its_outputs(family):
    detector, batch = DETECTORS[family]()
    hint = FeatureHint(detector, detector, detector.feature_module)
    detector(batch, mode="tensor")
    assert hint.error().item() == 0
    hint.close()
