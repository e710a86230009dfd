"""What both peers' scripts share: the job they are given and the file they leave. They run in the peer's own environment."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader, StackDataset

from mmsf.files import whole_or_absent
from mmsf.heap import keep_freed_memory
from mmsf.quantization import Bits, Quantizer, QuantizerSettings
from mmsf.registry import MODELS

# Of the largest absolute value of an output.
TOLERANCE = 1e-4


def say(line: str) -> None:
    """Print a line for the user; the comparison passes on what is marked so, and keeps the rest in its log."""
    print(f"> {line}", flush=True)


class Job:
    """What the comparison has left in a folder: see `mmsf.benchmark.peers.write_job`.

    Args:
        folder: The peer's folder.

    Attributes:
        bits: Of every layer's weight and input.
        iterations: Of every layer; None takes the peer's default.
        images: (N, 3, H, W) calibration images, preprocessed.
        network: Images to a tuple of raw outputs; the folded float network, attention taken apart.
        layers: Name -> layer that runs, in order.
        operands: Name -> place in ``network.calls`` of an operand of a product of activations.
        seconds: Phase -> seconds.
    """

    def __init__(self, folder: str | Path) -> None:
        keep_freed_memory()  # as mmsf's own runs do
        self.folder = Path(folder)
        content = torch.load(self.folder / "job.pth", weights_only=True)
        description = Config.fromstring(content["model"], ".py").model
        self.bits = Bits.parse(description.quantizer.bits)
        self.iterations: int | None = content["iterations"]
        # All layers left in float: what remains is the network itself, folded and taken apart.
        description.quantizer.overrides = {"*": "float"}
        wrapper = MODELS.build(description)
        wrapper.requires_grad_(False)
        self.images = wrapper.data_preprocessor(dict(inputs=content["images"]), training=False)["inputs"]
        quantized = wrapper.quantized
        self.network = RawOutputs(quantized.network, quantized.calls)
        self.running: Callable = quantized.running
        names = [name for name in quantized.bits if name not in quantized.call_names]
        self.layers = {name: quantized.network.get_submodule(name) for name in names}
        self.operands = {
            f"{name}.{number}": (call.operands, number)
            for name, call in zip(quantized.call_names, quantized.calls)
            for number in range(len(call.operands))
        }
        self.seconds: dict[str, float] = {}
        self._check(content["float_outputs"])

    def _check(self, expected: list[Tensor]) -> None:
        """Refuse to go on where the float network gives other outputs here than where the job was written."""
        with torch.no_grad():
            found = self.network(self.images[: len(expected[0])])
        worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, expected, strict=True))
        if not worst <= TOLERANCE:
            sys.exit(f"the float network's outputs differ by {worst:.1e} of their largest value; {TOLERANCE} is allowed")
        say(f"float outputs as in mmsf's environment: they differ by {worst:.1e} of their largest value")

    def loader(self, batch_size: int, labels: bool = False) -> DataLoader:
        """The calibration images, in order; with ``labels`` in pairs with a number that means nothing."""
        dataset = StackDataset(self.images, torch.zeros(len(self.images))) if labels else self.images
        return DataLoader(dataset, batch_size=batch_size)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the block's wall time to ``seconds``."""
        say(phase)
        begun = time.perf_counter()
        yield
        self._add(phase, time.perf_counter() - begun)

    def report_each(self, owner: type, method: str, kept: Callable[..., dict[str, Tensor]] | None = None) -> None:
        """Say after every call of a class method, which tunes one layer, how far it is.

        Args:
            owner: The class.
            method: The method's name.
            kept: Takes the call's arguments and returns the tensors that the call tunes. They are written after each call;
                where a start before this one has left them, they are put in place of the call, with torch's random state
                and the seconds that it took.
        """
        call, done, times = getattr(owner, method), 0, []

        def reporting(*args, **kwargs):
            nonlocal done
            done += 1
            file = self.folder / "layers" / f"{done:03}.pth"
            if kept and file.is_file():
                content = torch.load(file, weights_only=True)
                with torch.no_grad():
                    for name, tensor in kept(*args, **kwargs).items():
                        tensor.copy_(content["tensors"][name])
                torch.set_rng_state(content["random"])
                self._add("tuning", content["seconds"])
                say(f"layer {done} of {len(self.layers)}, tuned before")
                return None
            begun = time.perf_counter()
            result = call(*args, **kwargs)
            times.append(time.perf_counter() - begun)
            if kept:
                tensors = {name: tensor.detach().clone() for name, tensor in kept(*args, **kwargs).items()}
                file.parent.mkdir(exist_ok=True)
                with whole_or_absent(file) as temporary:
                    torch.save(dict(tensors=tensors, random=torch.get_rng_state(), seconds=times[-1]), temporary)
            eta = sum(times) / len(times) * (len(self.layers) - done)
            say(f"layer {done} of {len(self.layers)}, eta {max(eta, 0):.0f} s")
            return result

        setattr(owner, method, reporting)

    def _add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def save(
        self,
        weights: dict[str, tuple[Tensor, Tensor]],
        activations: dict[str, tuple[nn.Module, Tensor, Tensor]],
        packages: list[str],
        iterations: int,
        batch_size: int,
        differences: list[str],
    ) -> None:
        """Write the weights and scales, then ``result.json``.

        Args:
            weights: Layer -> weight as tuned, and its scales, one an output channel.
            activations: Quantizer -> the peer's module, its scale and its zero point.
            packages: Whose versions count.
            iterations: Of every layer, as they were.
            batch_size: Of tuning.
            differences: What is otherwise than in mmsf's AdaRound.
        """
        for name, (module, scale, zero_point) in activations.items():
            self._check_grid(name, module, scale, zero_point)
        content = dict(
            weights={name: weight.detach().clone() for name, (weight, _) in weights.items()},
            weight_scales={name: scale.detach().flatten().clone() for name, (_, scale) in weights.items()},
            activations={n: [s.detach().reshape(()), z.detach().reshape(())] for n, (_, s, z) in activations.items()},
        )
        with whole_or_absent(self.folder / "weights.pth") as temporary:
            torch.save(content, temporary)
        if missing := [name for name in self.layers if name not in weights]:
            differences = [*differences, f"not tuned, rounded to nearest by mmsf: {', '.join(missing)}"]
        result = dict(
            versions={package: version(package) for package in ("torch", *packages)},
            iterations=iterations,
            batch_size=batch_size,
            frames=len(self.images),
            seconds=self.seconds,
            differences=differences,
        )
        with whole_or_absent(self.folder / "result.json") as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")

    def _check_grid(self, name: str, module: nn.Module, scale: Tensor, zero_point: Tensor) -> None:
        """Refuse a quantizer of the peer's that mmsf's with the same scale and zero point does not stand for."""
        own = Quantizer(QuantizerSettings(self.bits.activation, symmetric=False))
        own.scale.copy_(scale.detach().reshape(()))
        own.zero_point.copy_(zero_point.detach().reshape(()))
        steps = torch.empty(4096).uniform_(-1.5, 2.5, generator=torch.Generator().manual_seed(0)) * 2**self.bits.activation
        x = steps * own.scale
        with torch.no_grad():
            other = ((module(x) - own(x)).abs() > 1e-3 * own.scale).float().mean().item()
        if other > 1e-3:  # values on the border of two steps may fall to either side
            sys.exit(f"{name}: the peer's quantizer and mmsf's with its scale differ in {other:.1%} of values")


class RawOutputs(nn.Module):
    """A detector's network as a plain module.

    Args:
        network: The network.
        calls: Holds the quantizers of products of activations.
    """

    def __init__(self, network: nn.Module, calls: nn.ModuleList) -> None:
        super().__init__()
        self.network, self.calls = network, calls

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(images, mode="tensor").values())
