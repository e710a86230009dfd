"""The first phase of post-training quantization: ranges, and what changes weights or bits before them."""

from collections.abc import Iterator

import torch
from mmengine.dist import all_gather_object, get_world_size

from mmsf.adapters.finite import broken_network, require_finite
from mmsf.engine.processes import of_first, shared_out
from mmsf.engine.progress import with_progress
from mmsf.engine.relative_rates import settle_shares
from mmsf.quantization import Bits, correcting_weights, equalise
from mmsf.quantization.histogram import BrokenActivationError, GrowingHistogram

# A layer's input has thousands of values a frame: a few frames show its channels.
EQUALISATION_FRAMES = 32


class RangePhase:
    """The part of `PTQLoop` that estimates ranges from the calibration frames."""

    def estimate_ranges(self) -> None:
        """One float pass over the calibration frames, then every range."""
        if self.equalisation:
            with self.timed("equalisation"):
                self.equalise()
        with self.timed("ranges"):
            histograms = self.observe()
            self.model.quantized.set_ranges(histograms, self.weight_range, self.activation_range)
        if self.bit_planner is not None:
            with self.timed("bit plan"):
                self.bit_planner.plan(self, histograms)
        if self.weight_correction:
            with self.timed("ranges"):
                self.correct_weights()
        self._follow_first()
        settle_shares(self.runner.optim_wrapper.optimizer)
        self.has_ranges = True

    def _follow_first(self) -> None:
        """Take over the network of the first process: on GPUs the last bits of sums may differ."""
        if get_world_size() > 1:
            network = self.model.quantized
            state = {name: value.cpu() for name, value in network.state_dict().items()}
            bits, state = of_first(lambda: (network.bits, state))
            network.set_bits(bits)
            network.load_state_dict(state)

    def equalise(self) -> None:
        """Rescale channels between layers, as some of the calibration frames suggest."""
        parts = self.frames.parts(list(range(min(EQUALISATION_FRAMES, len(self.frames)))))

        def run() -> Iterator[dict[str, torch.Tensor]]:
            return (self.model.quantized_raw(self.images(part)) for part in parts)

        weight_range = None if self.tunes else self.weight_range  # None: tuning mends the weights
        shares = equalise(self.model.quantized, run, weight_range, self.activation_range)
        moved = ", ".join(f"{name} {share:g}" for name, share in shares.items() if share is not None)
        self.runner.logger.info(f"equalisation: {len(shares)} places; share moved into the weights: {moved or 'none'}")

    def correct_weights(self) -> None:
        """Give the quantized weights norm and mean of the float ones; their ranges must be set."""
        parts = self.frames.parts()
        with torch.no_grad(), correcting_weights(self.model.quantized):
            for part in with_progress(parts, len(parts), "correction"):
                self.model.quantized_raw(self.images(part))

    def set_bits(self, plan: dict[str, Bits], histograms: dict[str, GrowingHistogram]) -> None:
        """Change the bits of layers, and set all ranges anew.

        Args:
            plan: Layer or function call -> bits.
            histograms: What the activations were, by quantizer name.
        """
        with torch.no_grad():
            self.model.quantized.set_bits(plan)
            self.model.quantized.set_ranges(histograms, self.weight_range, self.activation_range)

    def observe(self) -> dict[str, GrowingHistogram]:
        """Histograms of all activations over the calibration frames, without quantizers."""

        def run(part: list[int]) -> None:
            self._observe(self.images(part))

        parts = self.frames.parts()
        with torch.no_grad(), self.model.quantized.observing() as histograms:
            # Others depend on the order of the frames: every process sees them all.
            mergeable = all(isinstance(histogram, GrowingHistogram) for histogram in histograms.values())
            for _ in with_progress((shared_out if mergeable else map)(run, parts), len(parts), "ranges"):
                pass
        if mergeable:
            histograms, *others = all_gather_object(histograms)
            for other in others:
                for name, histogram in histograms.items():
                    histogram.merge(other[name])
        return histograms

    def _observe(self, images: torch.Tensor) -> None:
        detector = self.model.float_detector
        try:
            raw = self.model.quantized_raw(images)
        except BrokenActivationError as error:
            raise broken_network(detector, lambda: detector(images, mode="tensor"), str(error)) from error
        require_finite(raw, detector, lambda: detector(images, mode="tensor"))
