"""The Selective Focus loss, Eq. 6."""

from torch import Tensor, nn

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import confidence_error, semantic_error
from mmsf.errors import UserError
from mmsf.registry import MODELS


@MODELS.register_module()
class SelectiveFocusLoss(nn.Module):
    """Sum over heads of ``w_i ||C_i * (S^_i - S_i)||^2`` plus ``lambda ||C^_i - C_i||^2``, each norm a mean over elements.

    Args:
        confidence_weight: lambda of Eq. 6; the paper asks for more than 1.
        focus_power: Exponent of C in the semantic term. 1 is the paper. 0.5 is the exact expectation of Eq. 3 under a
            Bernoulli(C) mask (Theorem 1 as printed bounds it from below, not from above). 0 switches the focus off (Eq. 1).

    Source:
        Selective Focus, Eq. 5 and 6.
    """

    def __init__(self, confidence_weight: float = 2.0, focus_power: float = 1.0) -> None:
        super().__init__()
        if confidence_weight < 0 or focus_power < 0:
            raise UserError("SelectiveFocusLoss: confidence_weight and focus_power must not be negative")
        self.confidence_weight = confidence_weight
        self.focus_power = focus_power

    def forward(self, adapter: Adapter, target: HeadOutputs, output: HeadOutputs, head_weights: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            adapter: The family's adapter.
            target: Heads of the float model.
            output: Heads of the quantized model.
            head_weights: (semantic heads,) the selection, in the order of ``adapter.semantic_heads``; a tensor, so that another
                selection never changes the graph.

        Returns:
            ``loss_<head>`` and ``loss_<confidence>_confidence``, weighted, which the runner sums; ``error_<head>``, the
            semantic errors before weighting, which the selection is made by.
        """
        losses = {}
        for index, name in enumerate(adapter.semantic_heads):
            error = semantic_error(adapter, target, output, name, self.focus_power)
            losses[f"loss_{name}"] = head_weights[index] * error
            losses[f"error_{name}"] = error.detach()
        for name in target.confidences:
            losses[f"loss_{name}_confidence"] = self.confidence_weight * confidence_error(target, output, name)
        return losses
