"""How a network is quantized."""

from dataclasses import dataclass, field

from mmsf.errors import UserError
from mmsf.quantization.plan import Bits
from mmsf.quantization.profiles import profile_named


@dataclass(frozen=True)
class QuantizationSettings:
    """How a network is quantized; checks itself.

    Attributes:
        bits: Uniform plan, such as 'w4a4'.
        scheme: 'strict' (every layer at these bits) or 'customary' (first layer, last layer of each head at 8).
        profile: Name of the placement profile.
        learn_activation_scale: Activation scales are tuned with the weights (LSQ).
        activation_channel_bits: Every channel of a layer's input has a grid and bits of its own; the stated ones are their
            mean. For reference only: no runtime can do it. Operands of function calls keep one grid.
        dither_images: A `DitheredQuantizer` rounds images for the convolution that reads them, if it reads them alone.
        learn_weight_scale: So are the weights' scales.
        learn_offset: So are the activations' zero points (LSQ+).
        overrides: Layer name or pattern -> bits ('w8a8', 'float', [8, 4]).

    Raises:
        UserError: Unknown bits or profile, or a backend's profile with ``activation_channel_bits``.
    """

    bits: str
    scheme: str = "strict"
    profile: str = "academic"
    learn_activation_scale: bool = False
    activation_channel_bits: bool = False
    dither_images: bool = False
    learn_weight_scale: bool = False
    learn_offset: bool = False
    overrides: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        Bits.parse(self.bits)
        profile_named(self.profile)
        if self.activation_channel_bits and self.profile != "academic":
            raise UserError(f"activation_channel_bits cannot be had in the profile {self.profile!r}: no runtime can do it")
