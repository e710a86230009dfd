"""The toy network with ranges, its units, and what they are tuned with."""

from pathlib import Path

import torch
from test_quantization.toy import ResidualBlock, toy_images, toy_network
from torch import Tensor

from mmsf.quantization import MinMaxRange, QuantizationSettings, QuantizedNetwork
from mmsf.reconstruction import Kept, ReconstructionSettings, TensorMemory, Unit, UnitData, UnitTuner, find_units, record

FRAMES = 6


class Toy:
    """The quantized toy at 3 bits, calibrated on its own frames."""

    def __init__(self, blocks: tuple[type, ...] = (ResidualBlock,), learn_scale: bool = True, bits: str = "w3a3") -> None:
        self.images = toy_images(FRAMES)
        settings = QuantizationSettings(bits, learn_activation_scale=learn_scale)
        self.network = QuantizedNetwork(toy_network(), lambda network: network(toy_images(1)), settings)
        self.weights = {name: w.detach().clone() for name, _, w in self.network.quantized_weights()}
        with self.network.observing() as histograms:
            self.run()
        self.network.set_ranges(histograms, MinMaxRange(), MinMaxRange())
        with self.network.in_float(self.weights):
            self.units = {unit.name: unit for unit in find_units(self.network, self.run, blocks)}
        self.network.requires_grad_(False)

    @torch.no_grad()
    def run(self, frames: int = FRAMES) -> dict[str, Tensor]:
        with self.network.running():
            return self.network.network(self.images[:frames])

    @torch.no_grad()
    def float_run(self) -> dict[str, Tensor]:
        with self.network.in_float(self.weights):
            return self.run()

    def data(self, unit: Unit, memory: TensorMemory) -> UnitData:
        ins, outs = [call.inputs for call in unit.calls], [call.outputs for call in unit.calls]
        kept = [Kept(sides, unit.joined, FRAMES, memory) for sides in (ins, outs, ins)]
        data = UnitData(FRAMES, *kept)
        data.inputs.append(values for values, _ in record(unit, self.run)[0])
        runs, _ = record(unit, self.float_run)
        data.targets.append(tensors for _, tensors in runs)
        data.float_inputs.append(values for values, _ in runs)
        return data

    def tuner(self, name: str, folder: Path, limit_mb: float = 100, **settings) -> UnitTuner:
        defaults = dict(iterations=200, batch_size=4, keep_probability=0.5, scale_rate=1e-3)
        chosen = ReconstructionSettings(**{**defaults, **settings})
        device = torch.device("cpu")
        unit = self.units[name]
        self.memory = TensorMemory(folder, limit_mb, device)
        data = self.data(unit, self.memory)
        return UnitTuner(self.network, unit, data, chosen, self.optimizer, seed=3, device=device)

    @staticmethod
    def optimizer(groups: list[dict]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, lr=2e-2)


def silent(iteration: int, error: Tensor, rounding: Tensor | None) -> None:
    pass
