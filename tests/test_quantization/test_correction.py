import pytest
import torch
from test_quantization.toy import toy_images, toy_network

from mmsf.quantization import ACIQRange, QuantizationSettings, QuantizedNetwork, correcting_weights


def calibrated() -> QuantizedNetwork:
    quantized = QuantizedNetwork(toy_network(), lambda m: m(toy_images()), QuantizationSettings("w3a3"))
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        quantized.network(toy_images())
    quantized.set_ranges(histograms, ACIQRange(), ACIQRange())
    return quantized


def correct(quantized: QuantizedNetwork) -> None:
    with torch.no_grad(), correcting_weights(quantized), quantized.running():
        quantized.network(toy_images())


def mean_errors(quantized: QuantizedNetwork, floats: QuantizedNetwork) -> dict[str, float]:
    """Layer -> largest mean error of an output channel on float inputs, over the deviation of the layer's output."""
    inputs: dict[str, list] = {}
    handles = []
    for name, layer in floats.layer_quantizers():
        keep = inputs.setdefault(name, []).append
        handles.append(layer.register_forward_pre_hook(lambda _, args, keep=keep: keep(args)))
    with torch.no_grad(), floats.observing(), floats.running():
        floats.network(toy_images())
    for handle in handles:
        handle.remove()
    corrected, found = dict(quantized.layer_quantizers()), {}
    with torch.no_grad():
        for name, layer in floats.layer_quantizers():
            axis = -1 if layer.weight.dim() == 2 else 1
            want, got = (
                torch.cat([run(*args).movedim(axis, 0).flatten(1) for args in inputs[name]], 1)
                for run in (lambda *args, f=layer: f.float_output(f.weight, *args), corrected[name])
            )
            found[name] = ((got - want).mean(1).abs().max() / want.std()).item()
    return found


def test_the_means_of_all_output_channels_are_restored():
    floats, quantized = calibrated(), calibrated()
    before = mean_errors(quantized, floats)
    correct(quantized)
    after = mean_errors(quantized, floats)
    assert max(before.values()) > 0.1
    assert max(after.values()) < 1e-5


def test_the_norm_is_restored_and_no_integer_moves():
    floats, quantized = calibrated(), calibrated()
    correct(quantized)
    for (_, before), (_, after) in zip(floats.layer_quantizers(), quantized.layer_quantizers()):
        axis = before.weight_quantizer.settings.channel_axis
        integers, weights = [], []
        for layer in (before, after):
            rows = layer.quantized_weight().detach().movedim(axis, 0).flatten(1)
            weights.append(rows)
            integers.append(rows / layer.weight_quantizer.scale[:, None])
        torch.testing.assert_close(integers[1], integers[0], rtol=0, atol=1e-4)
        want = before.weight.movedim(axis, 0).flatten(1).std(1)
        torch.testing.assert_close(weights[1].std(1), want, rtol=1e-4, atol=0)


def test_the_corrected_network_is_an_ordinary_quantized_one():
    quantized, other = calibrated(), calibrated()
    correct(quantized)
    other.load_state_dict(quantized.state_dict())
    outputs = []
    for network in (quantized, other):
        with torch.no_grad(), network.running():
            outputs.append(network.network(toy_images()))
    assert all(torch.equal(outputs[0][name], outputs[1][name]) for name in outputs[0])


def test_an_error_inside_the_block_corrects_no_bias():
    quantized = calibrated()
    before = {name: (layer.bias.clone(), len(layer._forward_hooks)) for name, layer in quantized.layer_quantizers()}

    def fail() -> None:
        with correcting_weights(quantized):
            raise RuntimeError("no frame")

    with pytest.raises(RuntimeError, match="no frame"):
        fail()
    for name, layer in quantized.layer_quantizers():
        assert torch.equal(layer.bias, before[name][0])
        assert len(layer._forward_hooks) == before[name][1]
    assert all(quantizer.enabled for _, quantizer in quantized.activation_quantizers())
