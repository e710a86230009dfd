"""Profiles: what a backend can run, fixed before tuning."""

from dataclasses import dataclass

from mmsf.errors import UserError
from mmsf.quantization.quantizer import QuantizerSettings


@dataclass(frozen=True)
class Profile:
    """Symmetry, ranges and places of the quantizers. Weights are symmetric, per output channel; activations per tensor.

    Attributes:
        name: As it stands in configs and in ``quantized.pth``.
        calls: Kinds of function calls whose operands are quantized: 'matmul', 'add', 'concatenation'. Additions and
            concatenations take part only where at least two operands come from layers, and a layer or a product follows.
        symmetric_activations: Activations are symmetric; otherwise affine.
        narrow_weights: Weights do not use the smallest integer, -128 at 8 bits.
        integer_bias: Biases are integers of 32 bits, in steps of the layer's integer products.
        shared_ranges: A tensor has one range wherever it goes, and all parts of a concatenation have the same.
        fused_addend: The first operand of an addition that is a layer's own output stays float: the layer adds the others
            before it rounds.
    """

    name: str
    calls: tuple[str, ...]
    symmetric_activations: bool = False
    narrow_weights: bool = False
    integer_bias: bool = False
    shared_ranges: bool = False
    fused_addend: bool = False

    def weight_settings(self, bits: int, channel_axis: int, learn_scale: bool = False) -> QuantizerSettings:
        """Settings of a weight quantizer."""
        return QuantizerSettings(bits, True, True, channel_axis, learn_scale, narrow=self.narrow_weights)

    def activation_settings(self, bits: int, learn_scale: bool, learn_offset: bool = False) -> QuantizerSettings:
        """Settings of an activation quantizer."""
        return QuantizerSettings(bits, self.symmetric_activations, learn_scale=learn_scale, learn_offset=learn_offset)


_PROFILES = (
    # The tables: inputs of every layer with a weight and both operands of every matrix product.
    Profile("academic", calls=("matmul",)),
    # On x86-64 integer kernels need unsigned activations, one range a tensor, and quantized inputs of additions and
    # concatenations; with any of these missing, QLinearConv and QLinearAdd are not formed.
    Profile("onnxruntime", calls=("matmul", "add", "concatenation"), integer_bias=True, shared_ranges=True),
    # Integer kernels whatever stands around a layer, so sums stay exact; biases are added in float.
    Profile("openvino", calls=("matmul",), shared_ranges=True),
    # Zero points are 0 and biases float. A convolution takes in the addition behind it if the other addend alone is
    # quantized (NVIDIA's advice for residual networks).
    Profile(
        "tensorrt",
        calls=("matmul", "add", "concatenation"),
        symmetric_activations=True,
        narrow_weights=True,
        shared_ranges=True,
        fused_addend=True,
    ),
)
PROFILES = {profile.name: profile for profile in _PROFILES}


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UserError: For an unknown one.
    """
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
