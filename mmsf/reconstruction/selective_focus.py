"""The Selective Focus loss, Eq. 6."""

from torch import Tensor, nn

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import as_unit, channel_mean_square, confidence_error, semantic_error
from mmsf.errors import UserError
from mmsf.registry import MODELS


@MODELS.register_module()
class SelectiveFocusLoss(nn.Module):
    """Sum over heads of ``w_i ||C_i * (S^_i - S_i)||^2`` plus ``lambda ||C^_i - C_i||^2``, each norm a mean over elements.

    Args:
        confidence_weight: lambda of Eq. 6; the paper asks for more than 1.
        focus_power: Exponent of C in the semantic term. 1 is the paper. 0.5 is the exact expectation of Eq. 3 under a
            Bernoulli(C) mask (Theorem 1 as printed bounds it from below, not from above). 0 switches the focus off (Eq. 1).
        own_units: Measure every channel's error, and every confidence's, in units of its root mean square after range
            estimation. As printed, Eq. 6 adds numbers of different dimensions: in LSTR, an error of the shape's k (about
            1e-3, where it bends a lane) counts a million times less than one of the offset b (about 2). The paper is silent.

    Attributes:
        units: Head or confidence -> unit, set by `set_units` once ranges are known; empty while ``own_units`` is off.

    Source:
        Selective Focus, Eq. 5 and 6.
    """

    def __init__(self, confidence_weight: float = 2.0, focus_power: float = 1.0, own_units: bool = False) -> None:
        super().__init__()
        if confidence_weight < 0 or focus_power < 0:
            raise UserError("SelectiveFocusLoss: confidence_weight and focus_power must not be negative")
        self.confidence_weight = confidence_weight
        self.focus_power = focus_power
        self.own_units = own_units
        self.units: dict[str, Tensor] = {}

    def mean_squares(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs) -> dict[str, Tensor]:
        """What the units are made of: mean squares of the errors of each head's channels, and of each confidence.

        Args:
            adapter: The family's adapter.
            target: Heads of the float model for some frames.
            output: Heads of the calibrated model, the same frames.
        """
        heads = {name: channel_mean_square(adapter, target, output, name) for name in adapter.semantic_heads}
        return heads | {name: confidence_error(target, output, name) for name in target.confidences}

    def set_units(self, mean_squares: dict[str, Tensor]) -> None:
        """Take the units from `mean_squares` of the calibration frames; nothing to do where ``own_units`` is off."""
        if self.own_units:
            self.units = {name: as_unit(square) for name, square in mean_squares.items()}

    def semantic_error(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs, name: str) -> Tensor:
        """The semantic term of one head before its weight, scalar: what the noise-score curves are queried with."""
        return semantic_error(adapter, target, output, name, self.focus_power, self.units.get(name))

    def forward(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs, head_weights: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            adapter: The family's adapter.
            target: Heads of the float model.
            output: Heads of the quantized model.
            head_weights: (semantic heads,) the selection, in the order of ``adapter.semantic_heads``; a tensor, so that
                another selection never changes the graph.

        Returns:
            ``loss_<head>`` and ``loss_<confidence>_confidence``, weighted, which the runner sums; ``error_<head>``, the
            semantic errors before weighting, which the selection is made by.
        """
        # They are made on the processor. Copied in every iteration, they would make it wait for a GPU.
        self.units = {name: unit.to(head_weights.device) for name, unit in self.units.items()}
        losses = {}
        for index, name in enumerate(adapter.semantic_heads):
            error = self.semantic_error(adapter, target, output, name)
            losses[f"loss_{name}"] = head_weights[index] * error
            losses[f"error_{name}"] = error.detach()
        for name in target.confidences:
            error = confidence_error(target, output, name, self.units.get(name))
            losses[f"loss_{name}_confidence"] = self.confidence_weight * error
        return losses
