"""Learning rates of weights in proportion to their size."""

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.optim import Optimizer

from mmsf.engine.processes import unwrapped
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.registry import OPTIM_WRAPPER_CONSTRUCTORS

SHARE = "rate_is_a_share"


def settle_shares(optimizer: Optimizer) -> None:
    """Turn learning rates that are shares of a parameter's size into rates, once ranges are known."""
    for group in optimizer.param_groups:
        if group.pop(SHARE, False):
            group["lr"] *= group["params"][0].detach().abs().mean().item()


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RelativeRateConstructor:
    """Gives every quantized weight a learning rate in proportion to its layer's weights.

    Adam moves a weight by about its learning rate in an iteration, whatever the gradient's size. After folding, the weights
    of a network's layers differ in size by orders of magnitude, and so do the steps of their grids: with one learning rate
    for all, some layers never reach the next step and others jump over several at once.

    Args:
        optim_wrapper_cfg: MMEngine's config of the optimizer; its ``lr`` is that of everything else.
        paramwise_cfg: ``weight_rate``: learning rate of a quantized weight as a share of the mean over its output channels
            of the largest magnitude, as it is before equalisation. One step of a 4-bit grid is about 0.14, of an 8-bit
            grid 0.008. A learned weight scale gets the same share of its own size, a learned offset the same share of its
            grid's steps. ``scale_rate``: learning rate of an activation's scale as a share of the scale after range
            estimation; None (default) gives scales the plain ``lr``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        settings = dict(paramwise_cfg or {})
        self.weight_rate = settings.pop("weight_rate")
        self.scale_rate = settings.pop("scale_rate", None)
        if settings:
            raise UserError(
                f"RelativeRateConstructor: paramwise_cfg has unknown keys {', '.join(settings)}; "
                "known: weight_rate, scale_rate"
            )
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop("optimizer"))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a `QuantWrapper`."""
        wrapper: QuantWrapper = unwrapped(model)
        rates = {}
        for _, quantizer, weight in wrapper.quantized.quantized_weights():
            axis = quantizer.settings.channel_axis
            largest = weight.detach().movedim(axis, 0).flatten(1).abs().amax(1).mean().item()
            rates[weight] = self.weight_rate * largest
            # Before the range is known: the weights fill their grid.
            rates[quantizer.scale] = rates[weight] / quantizer.settings.integer_range[1]
        for _, quantizer in wrapper.quantized.activation_quantizers():
            low, high = quantizer.settings.integer_range
            rates[quantizer.zero_point] = self.weight_rate * (high - low)
        groups = [
            {"params": [parameter], "lr": rates.get(parameter, self.optimizer_cfg["lr"])}
            for parameter in wrapper.parameters()
            if parameter.requires_grad
        ]
        if self.scale_rate is not None:
            scales = {quantizer.scale for _, quantizer in wrapper.quantized.activation_quantizers()}
            for group in groups:
                if group["params"][0] in scales:
                    group["lr"], group[SHARE] = self.scale_rate, True
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=groups))
        return OPTIM_WRAPPERS.build({"type": "OptimWrapper", **self.wrapper_cfg, "optimizer": optimizer})
