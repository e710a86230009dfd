"""What is kept of large maps is near enough to them."""

import pytest
import small_condlane
import small_segmentation
import torch

from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork

FAMILIES = {
    "scnn": (lambda: small_segmentation.small("scnn"), small_segmentation.images),
    "resa": (lambda: small_segmentation.small("resa"), small_segmentation.images),
    "condlane": (small_condlane.small, small_condlane.images),
}


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_kept_outputs_moves_them_far_less_than_eight_bits_do(family):
    make, images = FAMILIES[family]
    model = make()
    target = model(images(2), mode="tensor")
    places = {name: target[name] for name in model.adapter.places}
    network = QuantizedNetwork(model, lambda network: network(images(1)), QuantizationSettings("w8a8"))
    with network.observing() as histograms, network.running():
        network.network(images(2), mode="tensor", **places)
    network.set_ranges(histograms, MSERange(), MSERange())
    with network.running():
        output = network.network(images(2), mode="tensor", **places)
    kept = model.adapter.packed(target)
    assert model.adapter.compact
    for name, value in target.items():
        if name not in model.adapter.compact:
            assert torch.equal(kept[name], value)
            continue
        assert kept[name].dtype == torch.float16
        rounding = (kept[name].float() - value).square().mean().sqrt()
        quantization = (output[name] - value).square().mean().sqrt()
        assert 0 < rounding < quantization / 20, name
