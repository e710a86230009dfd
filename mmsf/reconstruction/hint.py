"""Features of the quantized network, compared with the float network's on the way to the outputs."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten


def feature_error(target: list[Tensor], output: list[Tensor]) -> Tensor:
    """Mean squared difference over the target's mean square, scalar; the mean over the features.

    Args:
        target: Features of the float network.
        output: Features of the quantized one, same shapes.
    """
    errors = [(o - t).square().mean() / t.square().mean().clamp(min=1e-12) for t, o in zip(target, output, strict=True)]
    return torch.stack(errors).mean()


class FeatureHint:
    """Looks at the outputs of one module of two networks, until it is closed.

    Args:
        float_network: The float network.
        quantized_network: Its quantized copy.
        module: Name of the module, in both.
    """

    def __init__(self, float_network: nn.Module, quantized_network: nn.Module, module: str) -> None:
        self._seen: dict[str, list[Tensor]] = {}
        self._handles = [
            network.get_submodule(module).register_forward_hook(partial(self._keep, which))
            for which, network in (("float", float_network), ("quantized", quantized_network))
        ]

    def _keep(self, which: str, module: nn.Module, inputs: tuple, output: object) -> None:
        self._seen[which] = [t for t in tree_flatten(output)[0] if isinstance(t, Tensor) and t.is_floating_point()]

    def error(self) -> Tensor:
        """`feature_error` of the last runs of both networks."""
        return feature_error(self._seen.pop("float"), self._seen.pop("quantized"))

    def close(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()
        self._seen.clear()
