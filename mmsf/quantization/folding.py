"""Batch norm folded into the layer that feeds it."""

import torch
from torch import nn

from mmsf.quantization.layers import output_channel_axis

_NORMALISING = (nn.modules.batchnorm._BatchNorm.forward, nn.SyncBatchNorm.forward)


def fold_batch_norms(model: nn.Module, pairs: dict[str, str]) -> list[str]:
    """Fold each batch norm into its layer and put an identity in its place, in place.

    Args:
        model: The network in eval mode.
        pairs: Batch norm name -> name of the layer that alone feeds it (`Followed.folding`).

    Returns:
        Names of the batch norms that could not be folded: behind grouped transposed convolutions, without statistics, or of
        a class that does more than to normalise.
    """
    left = []
    for norm_name, layer_name in pairs.items():
        norm, layer = model.get_submodule(norm_name), model.get_submodule(layer_name)
        axis = output_channel_axis(layer)
        plain = type(norm).forward in _NORMALISING and norm.running_mean is not None
        if not plain or (axis == 1 and layer.groups > 1):
            left.append(norm_name)
            continue
        _fold(layer, norm, axis)
        replace_everywhere(model, norm, nn.Identity())
    return left


def replace_everywhere(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under every name that it has in the model."""
    places = [(parent, name) for parent in model.modules() for name, child in parent._modules.items() if child is old]
    for parent, name in places:
        setattr(parent, name, new)


def _fold(layer: nn.Module, norm: nn.modules.batchnorm._BatchNorm, axis: int) -> None:
    with torch.no_grad():
        # In double, so that folding adds no rounding of its own beyond the final cast.
        slope = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            slope = slope * norm.weight.double()
        shift = -norm.running_mean.double() * slope
        if norm.bias is not None:
            shift = shift + norm.bias.double()
        shape = [1] * layer.weight.dim()
        shape[axis] = -1
        layer.weight.copy_(layer.weight.double() * slope.view(shape))
        if layer.bias is None:
            layer.bias = nn.Parameter(shift.to(layer.weight))
        else:
            layer.bias.copy_(layer.bias.double() * slope + shift)
