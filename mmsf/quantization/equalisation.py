"""Equalisation: the channels of an activation brought to like ranges, at no change of the float network."""

import torch
from torch import Tensor, nn

from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.layers import QuantizedLayer
from mmsf.quantization.network import QuantizedNetwork
from mmsf.quantization.quantizer import switched_off
from mmsf.quantization.ranges import RangeEstimator
from mmsf.quantization.rescaling import CalibrationRun, find_sites, keeps_outputs, rescale, rescaled_inputs, weights_by_input

# How much of the difference between an activation's channels moves into the weights.
SHARES = (0.25, 0.5, 0.75, 1.0)
# The smallest size of a channel, as a share of the largest one's.
SMALLEST = 1e-2

# Positional arguments of every run of a layer.
Runs = list[tuple]


@torch.no_grad()
def equalise(
    network: QuantizedNetwork,
    run: CalibrationRun,
    weight_range: RangeEstimator | None,
    activation_range: RangeEstimator,
) -> dict[str, float | None]:
    """Rescale channels between layers where that lowers quantization's error; weights and biases change in place.

    An activation has one range for all its channels, a weight one for each output channel. Dividing channel c of an
    activation by s_c and multiplying the weights that read it by s_c changes no float output. The activation gains most by
    s_c = r_c, its channel's range; the weights, each output channel of which mixes all factors, by s_c = 1 / w_c, theirs.
    Taken is s_c = r_c^a / w_c^(1 - a) with the share a of `SHARES`, or no factor, whichever has the least error at the
    outputs of the reading layers with inputs and weights quantized; s_c is scaled to a geometric mean of 1.

    The places are those of `find_sites` that pass `keeps_outputs`.

    Args:
        network: Its ranges need not be set, and are worthless afterwards.
        run: Runs the network on calibration frames.
        weight_range: The estimator that will set the weights' ranges. None leaves the weights' error out: tuning mends it,
            but not the error of activations, so their channels then get all the room.
        activation_range: The same for activations.

    Returns:
        Layer or layer norm whose output can be rescaled -> the share; None where no factor is best.

    Source:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1;
        Xiao et al., "SmoothQuant", 2023, Eq. 4.
    """
    quantizers = [quantizer for _, quantizer, _ in network.quantized_weights()]
    quantizers += [quantizer for _, quantizer in network.activation_quantizers()]
    with switched_off(quantizers):
        sites = find_sites(network, run)
    shares = {}
    for site in sites:
        layers = [network.network.get_submodule(name) for name in site.consumers]
        with switched_off(quantizers):
            inputs, spread, raw = _watched(network.network.get_submodule(site.producer), layers, run)
            if not all(inputs) or not keeps_outputs(network, site, run, raw):
                continue
        candidates = _candidates(layers, inputs, spread)
        rectified = [name in site.rectified for name in site.consumers]
        ranges = weight_range, activation_range
        errors = {share: _error(layers, rectified, inputs, f, *ranges) for share, f in candidates.items()}
        best = min(errors, key=errors.get)
        rescale(network, site, candidates[best])
        shares[site.producer] = best
    return shares


def _watched(
    producer: nn.Module, layers: list[QuantizedLayer], run: CalibrationRun
) -> tuple[list[Runs], Tensor, list[object]]:
    """What every layer is called with in a run, the spread of each channel (C,) where it is made, and what the run yielded.

    Empty tensors are left out.
    """
    inputs: list[Runs] = [[] for _ in layers]
    variances: list[Tensor] = []
    single: list[Tensor] = []  # runs with one value a channel have no spread of their own
    axis = channels_axis(layers[0])
    handles = [
        layer.register_forward_pre_hook(lambda _, args, runs=runs: runs.append(args)) for layer, runs in zip(layers, inputs)
    ]

    def after(module: nn.Module, args: tuple, out: Tensor) -> None:
        values = by_channel(out, axis)
        if values.shape[1] > 1:
            variances.append(values.var(1))
        elif values.numel():
            single.append(values)

    handles.append(producer.register_forward_hook(after))
    try:
        raw = list(run())
    finally:
        for handle in handles:
            handle.remove()
    inputs = [[args for args in runs if args[0].numel()] for runs in inputs]
    if len(single) > 1:
        variances.append(torch.cat(single, 1).var(1))
    return inputs, torch.stack(variances).mean(0).sqrt() if variances else torch.zeros(()), raw


def channels_axis(layer: QuantizedLayer) -> int:
    """Axis of the channels of a layer's input and output: the last of linear layers, the second of convolutions."""
    return -1 if layer.weight.dim() == 2 else 1


def by_channel(x: Tensor, axis: int) -> Tensor:
    """(C, N) values of a tensor whose channels stand on ``axis``."""
    return x.movedim(axis, 0).flatten(1)


def _candidates(layers: list[QuantizedLayer], inputs: list[Runs], spread: Tensor) -> dict[float | None, Tensor]:
    """Share -> factors (C,), their geometric mean 1; None -> ones.

    A channel that a ReLU lets hardly anything through counts by its spread before. Blown up to what a few frames show of it,
    it would take the range away from all the others on the first frame where it is alive.
    A factor that all channels share changes no quantizer's error, but the sizes that learning rates were chosen for.
    """
    axis = channels_axis(layers[0])
    activation = torch.stack([by_channel(args[0], axis).abs().amax(1) for runs in inputs for args in runs]).amax(0)
    activation = torch.maximum(activation, spread)
    weight = torch.stack([weights_by_input(layer).abs().amax(1) for layer in layers]).amax(0)
    ones = torch.ones_like(activation)
    if not activation.max() > 0 or not weight.max() > 0:
        return {None: ones}
    activation, weight = (t.clamp(min=SMALLEST * t.max().item()) for t in (activation, weight))
    logarithms = {share: share * activation.log() - (1 - share) * weight.log() for share in SHARES}
    return {None: ones} | {share: (factors - factors.mean()).exp() for share, factors in logarithms.items()}


def _error(
    layers: list[QuantizedLayer],
    rectified: list[bool],
    inputs: list[Runs],
    factors: Tensor,
    weight_range: RangeEstimator | None,
    activation_range: RangeEstimator,
) -> float:
    """Mean square error of the layers' outputs, behind their ReLU if there is one, with ``factors``.

    Each channel counts in units of its float mean square: what leaves a head's last layer are numbers of different size.
    """
    total = 0.0
    for layer, relu, runs in zip(layers, rectified, inputs):
        axis = channels_axis(layer)
        shape = [-1] if layer.weight.dim() == 2 else [-1, *[1] * (layer.weight.dim() - 2)]
        rescaled = [(args[0] / factors.view(shape), args[1:]) for args in runs]
        histogram = GrowingHistogram()
        for x, _ in rescaled:
            histogram(x)
        activation_range.set_activation_range(layer.input_quantizer, histogram)
        weight = rescaled_inputs(layer, factors)
        if weight_range is not None and layer.weight_quantizer is not None:
            weight_range.set_weight_range(layer.weight_quantizer, weight)
            weight = layer.weight_quantizer(weight)
        error = power = 0.0
        for (x, rest), args in zip(rescaled, runs):
            want = layer.float_output(layer.weight, *args)
            got = layer.float_output(weight, layer.input_quantizer(x), *rest)
            if relu:
                want, got = want.relu(), got.relu()
            error = error + by_channel(got - want, axis).square().sum(1)
            power = power + by_channel(want, axis).square().sum(1)
        if power.max() > 0:
            # Behind a ReLU there are channels that are nearly always 0.
            floor = power.max() * SMALLEST if relu else 0.0
            total += (error / power.clamp(min=floor))[power > 0].mean().item()
    return total
