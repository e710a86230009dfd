"""What distinguishes AdaRound, BRECQ and QDrop."""

from dataclasses import dataclass

from mmsf.errors import UserError, require_number, require_pair, require_whole


@dataclass(frozen=True)
class ReconstructionSettings:
    """How units are tuned; the defaults are the values in the authors' code.

    Attributes:
        units: 'layer' (AdaRound) or 'block' (BRECQ, QDrop).
        iterations: Of each unit's rounding.
        batch_size: Frames of a mini-batch.
        objective: 'mse'; 'fisher': errors are weighted by squared gradients of the detector's own loss (BRECQ); or 'lanes':
            by how much they move the decoded lanes, see `lane_gradients`.
        draws: With 'lanes': backward passes a batch.
        keep_probability: Share of elements that are quantized while a unit is tuned, the others are float (QDrop: 0.5, and
            1 for all of them); activation scales are tuned along. None leaves activations in float until all weights are
            rounded, as AdaRound and BRECQ do; their ranges are estimated then.
        rounding_weight: Factor of the regulariser that decides every weight.
        warm_up: Share of the iterations without the regulariser.
        beta: The regulariser's exponent after that, and at the end.
        scale_rate: Learning rate of activation scales, falling to 0 along a cosine.
        scale_iterations: With ``keep_probability`` None: iterations of each unit's activation scales, after the weights
            (BRECQ's second pass).
        scale_power: Exponent of the error there.

    Source:
        Nagel et al. 2020; Li et al., "BRECQ", 2021; Wei et al., "QDrop", 2022.
    """

    units: str = "block"
    iterations: int = 20000
    batch_size: int = 32
    objective: str = "mse"
    draws: int = 4
    keep_probability: float | None = None
    rounding_weight: float = 0.01
    warm_up: float = 0.2
    beta: tuple[float, float] = (20.0, 2.0)
    scale_rate: float = 4e-5
    scale_iterations: int = 0
    scale_power: float = 2.4

    def __post_init__(self) -> None:
        for name, known in (("units", ("layer", "block")), ("objective", ("mse", "fisher", "lanes"))):
            if getattr(self, name) not in known:
                raise UserError(f"reconstruction: {name} must be {' or '.join(known)}; got {getattr(self, name)!r}")
        for name, least in (("iterations", 1), ("batch_size", 1), ("draws", 1), ("scale_iterations", 0)):
            require_whole("reconstruction", name, getattr(self, name), least)
        for name in ("rounding_weight", "scale_rate", "scale_power"):
            require_number("reconstruction", name, getattr(self, name), 0)
        require_number("reconstruction", "warm_up", self.warm_up, 0, below=1)
        require_pair("reconstruction", "beta", self.beta)
        if self.keep_probability is not None and not 0 < self.keep_probability <= 1:
            raise UserError(f"reconstruction: keep_probability must lie in (0, 1]; got {self.keep_probability}")

    def beta_at(self, iteration: int) -> float | None:
        """The regulariser's exponent, linear from its first value to its last; None while it is off."""
        start = self.warm_up * self.iterations
        if iteration < start:
            return None
        first, last = self.beta
        return first + (last - first) * (iteration - start) / (self.iterations - start)
