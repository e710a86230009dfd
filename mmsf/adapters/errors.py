"""How far a quantized model's heads are from the float model's."""

from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs


def semantic_error(
    adapter: Adapter, target: HeadOutputs, output: HeadOutputs, name: str, focus_power: float, unit: Tensor | None = None
) -> Tensor:
    """Mean over the head's elements of ``(C^focus_power * (S_output - S_target) / unit)^2``, the semantic term of Eq. 6.

    The paper leaves the reduction of the Frobenius norm open; with a mean, heads of any size weigh alike.

    Args:
        adapter: Knows which confidence gates the head.
        target: Heads of the float model (the confidence is taken from it).
        output: Heads of the quantized, or perturbed, model.
        name: The semantic head.
        focus_power: 1 is the paper's; 0.5 the exact expectation under a Bernoulli mask; 0 no focus (Eq. 1).
        unit: What one unit of each channel is, broadcastable to the head; None for the outputs' own units.

    Returns:
        Scalar.

    Source:
        Selective Focus, Eq. 5 and 6.
    """
    difference = output.semantics[name] - target.semantics[name]
    if unit is not None:
        difference = difference / unit.to(difference)
    if focus_power:
        difference = adapter.gate(target, name) ** focus_power * difference
    return difference.square().mean()


def confidence_error(target: HeadOutputs, output: HeadOutputs, name: str, unit: Tensor | None = None) -> Tensor:
    """Mean of ``((C_output - C_target) / unit)^2``, the confidence term of Eq. 6 without its weight.

    Args:
        target: Heads of the float model.
        output: Heads of the quantized model.
        name: The confidence.
        unit: What one unit of it is, scalar; None for a probability's own.

    Returns:
        Scalar.

    Source:
        Selective Focus, Eq. 6.
    """
    error = (output.confidences[name] - target.confidences[name]).square().mean()
    return error if unit is None else error / unit.to(error) ** 2


def head_errors(target: HeadOutputs, output: HeadOutputs) -> dict[str, Tensor]:
    """Head -> error of its semantics, (B, ...)."""
    return {name: output.semantics[name] - semantics for name, semantics in target.semantics.items()}


def channel_mean_square(adapter: Adapter, target: HeadOutputs, output: HeadOutputs, name: str) -> Tensor:
    """Mean square of a head's error in each channel, over frames and places.

    Args:
        adapter: Knows the axis of the channels.
        target: Heads of the float model.
        output: Heads of the quantized model.
        name: The semantic head.

    Returns:
        Broadcastable to the head: all its axes but the channels' are 1.
    """
    squared = (output.semantics[name] - target.semantics[name]).square()
    axis = adapter.channel_axis % squared.dim()
    return squared.mean([a for a in range(squared.dim()) if a != axis], keepdim=True)


def as_unit(mean_square: Tensor) -> Tensor:
    """Root mean square; 1 where there is no error."""
    rms = mean_square.sqrt()
    return rms.masked_fill(rms == 0, 1.0)


def channel_rms(adapter: Adapter, target: HeadOutputs, output: HeadOutputs, name: str) -> Tensor:
    """Root of `channel_mean_square`; 1 where there is no error."""
    return as_unit(channel_mean_square(adapter, target, output, name))
