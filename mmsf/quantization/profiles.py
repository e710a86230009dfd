"""Profiles: what a backend can run, fixed before tuning."""

from dataclasses import dataclass

from mmsf.errors import UserError
from mmsf.quantization.quantizer import QuantizerSettings


@dataclass(frozen=True)
class Profile:
    """Symmetry, ranges and places of the quantizers.

    Attributes:
        name: As it stands in configs and in ``quantized.pth``.
        symmetric_weights: Weights are symmetric, per output channel.
        symmetric_activations: Activations are symmetric; otherwise affine. Always per tensor.
        calls: Kinds of function calls whose operands are quantized: 'matmul', 'add', 'concatenation'.
    """

    name: str
    symmetric_weights: bool
    symmetric_activations: bool
    calls: tuple[str, ...]

    def weight_settings(self, bits: int, channel_axis: int, learn_scale: bool = False) -> QuantizerSettings:
        """Settings of a weight quantizer."""
        return QuantizerSettings(bits, self.symmetric_weights, True, channel_axis, learn_scale)

    def activation_settings(self, bits: int, learn_scale: bool, learn_offset: bool = False) -> QuantizerSettings:
        """Settings of an activation quantizer."""
        return QuantizerSettings(bits, self.symmetric_activations, learn_scale=learn_scale, learn_offset=learn_offset)


PROFILES = {
    # The tables: inputs of every layer with a weight and both operands of every matrix product.
    "academic": Profile("academic", symmetric_weights=True, symmetric_activations=False, calls=("matmul",)),
    # ONNX Runtime fuses integer kernels only when both inputs of additions and concatenations are quantized too.
    "onnxruntime": Profile(
        "onnxruntime", symmetric_weights=True, symmetric_activations=False, calls=("matmul", "add", "concatenation")
    ),
}


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UserError: For an unknown one.
    """
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
