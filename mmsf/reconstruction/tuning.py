"""One unit of a network, tuned towards its float outputs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmsf.quantization import AdaRound, QuantizedNetwork, RandomDropping
from mmsf.reconstruction.activations import Kept
from mmsf.reconstruction.settings import ReconstructionSettings
from mmsf.reconstruction.units import Unit

Report = Callable[[int, Tensor, Tensor | None], None]


@dataclass
class UnitData:
    """What a unit is tuned with.

    Attributes:
        frames: N.
        inputs: From the network as quantized so far.
        targets: Outputs of the float network.
        float_inputs: Inputs in the float network, to mix in; None without mixing.
        importance: Weights of squared errors, shaped like the outputs; None for equal ones.
    """

    frames: int
    inputs: Kept
    targets: Kept
    float_inputs: Kept | None = None
    importance: Kept | None = None


class UnitTuner:
    """Tunes one unit.

    Args:
        network: The network that the unit is part of.
        unit: The unit.
        data: Its inputs and targets.
        settings: How.
        make_optimizer: Builds the optimizer of parameter groups; groups without ``lr`` have its own.
        seed: Of mini-batches and dropping.
        device: Where the network is.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        unit: Unit,
        data: UnitData,
        settings: ReconstructionSettings,
        make_optimizer: Callable[[list[dict]], Optimizer],
        seed: int,
        device: torch.device,
    ) -> None:
        self.network, self.unit, self.data, self.settings = network, unit, data, settings
        self.make_optimizer, self.seed, self.device = make_optimizer, seed, device
        self.scales = [q.scale for q in unit.activations.values() if isinstance(q.scale, nn.Parameter)]
        self.dropping: RandomDropping | None = None
        if settings.keep_probability is not None:
            generator = torch.Generator(device).manual_seed(seed)
            self.dropping = RandomDropping(settings.keep_probability, generator)

    def tune_rounding(self, report: Report) -> None:
        """Learn how the unit's weights are rounded, with dropping also its activation scales; round the weights."""
        layers = [layer for layer in self.unit.layers.values() if layer.weight_quantizer is not None]
        roundings = [AdaRound(layer.weight, layer.weight_quantizer) for layer in layers]
        for layer, rounding in zip(layers, roundings):
            layer.weight_quantizer.rounding = rounding
        groups = [{"params": [rounding.logits for rounding in roundings]}] if roundings else []
        if self.scales and self.dropping is not None:
            groups.append(self._scale_group())

        def undecided(iteration: int) -> Tensor | None:
            beta = self.settings.beta_at(iteration)
            if beta is None or not roundings:
                return None
            return self.settings.rounding_weight * sum(rounding.undecided(beta) for rounding in roundings)

        try:
            with self._dropping(), self._tuned_scales():
                self._iterate(groups, self.settings.iterations, 2.0, undecided, report)
        finally:
            for layer in layers:
                layer.weight_quantizer.rounding = None
        with torch.no_grad():
            for layer, rounding in zip(layers, roundings):
                layer.weight.copy_(rounding.hard())

    def tune_scales(self, report: Report) -> None:
        """Learn the unit's activation scales alone (BRECQ's second pass)."""
        with self._tuned_scales():
            settings = self.settings
            self._iterate([self._scale_group()], settings.scale_iterations, settings.scale_power, lambda _: None, report)

    def _scale_group(self) -> dict:
        return {"params": self.scales, "lr": self.settings.scale_rate, "falls": True}

    @torch.no_grad()
    def error(self) -> float:
        """Error of the unit's outputs over all frames, as it stands; without dropping."""
        total = 0.0
        for index in torch.arange(self.data.frames, device=self.device).split(self.settings.batch_size):
            total += self._error(index, self.data.inputs.batch, 2.0).item() * len(index)
        return total / self.data.frames

    def _iterate(
        self,
        groups: list[dict],
        iterations: int,
        power: float,
        undecided: Callable[[int], Tensor | None],
        report: Report,
    ) -> None:
        optimizer = self.make_optimizer(groups)
        falling = [(group, group["lr"]) for group in optimizer.param_groups if group.get("falls")]
        batches = seeded_batches(self.data.frames, self.settings.batch_size, iterations, self.seed).to(self.device)
        for iteration, index in enumerate(batches):
            error = self._error(index, self._inputs, power)
            rounding = undecided(iteration)
            optimizer.zero_grad()
            (error if rounding is None else error + rounding).backward()
            for group, rate in falling:
                group["lr"] = rate * (1 + math.cos(math.pi * iteration / iterations)) / 2
            optimizer.step()
            report(iteration, error, rounding)

    def _inputs(self, call: int, index: Tensor) -> list:
        """Inputs of a call: quantized ones, or with dropping a mixture with float ones."""
        values = self.data.inputs.batch(call, index)
        if self.dropping is None or self.data.float_inputs is None:
            return values
        others = self.data.float_inputs.batch(call, index)
        return [
            self.dropping(value, other) if isinstance(value, Tensor) and value.is_floating_point() else value
            for value, other in zip(values, others)
        ]

    def _error(self, index: Tensor, inputs: Callable[[int, Tensor], list], power: float) -> Tensor:
        """Sum over the channels of the (weighted) differences' powers, mean over everything else."""
        total = torch.zeros((), device=self.device)
        for number, call in enumerate(self.unit.calls):
            values = inputs(number, index)
            with self.network.running():
                outputs = self.unit.outputs(call, values)
            targets = self.data.targets.batch(number, index)
            weights = [None] * len(outputs) if self.data.importance is None else self.data.importance.batch(number, index)
            for output, target, weight in zip(outputs, targets, weights, strict=True):
                if self.unit.rectified and weight is None:
                    output, target = output.relu(), target.relu()
                difference = output - target
                error = difference.square() if power == 2 else difference.abs().pow(power)
                total = total + (error if weight is None else error * weight).mean() * self.unit.channels
        return total

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        for quantizer in self.unit.activations.values():
            quantizer.dropping = self.dropping
        try:
            yield
        finally:
            for quantizer in self.unit.activations.values():
                quantizer.dropping = None

    @contextmanager
    def _tuned_scales(self) -> Iterator[None]:
        for scale in self.scales:
            scale.requires_grad_(True)
        try:
            yield
        finally:
            for scale in self.scales:
                scale.requires_grad_(False)
                scale.grad = None


def seeded_batches(frames: int, batch_size: int, iterations: int, seed: int) -> Tensor:
    """(iterations, min(batch_size, frames)) indices of frames: an endless row of seeded permutations, cut into batches."""
    batch = min(batch_size, frames)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(frames, generator=generator) for _ in range(-(-iterations * batch // frames))]
    return torch.cat(orders)[: iterations * batch].view(iterations, batch)
