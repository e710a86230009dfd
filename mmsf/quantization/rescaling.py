"""Places between layers where channels can be rescaled while the float network stays the same function."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mmsf.quantization.functions import operands_of
from mmsf.quantization.layers import QuantizedLayer, output_channel_axis
from mmsf.quantization.network import QuantizedNetwork

# Runs a network on calibration frames, the same ones whenever it is called, and yields the raw outputs of one part of them
# after the other. What is not kept of a part is free before the next one runs.
CalibrationRun = Callable[[], Iterable[object]]

# Functions f with f(s x) = s f(x) for every channel's own s > 0.
_HOMOGENEOUS = {"relu", "relu_", "leaky_relu", "dropout"}


@dataclass(frozen=True)
class Site:
    """A place where channels can be rescaled.

    Attributes:
        producer: Name of the layer, or layer norm, whose output channels are divided.
        consumers: Names of the layers that alone read them; their input channels are multiplied.
        channels: How many.
        rectified: Those of the consumers whose output goes through a ReLU and nowhere else.
    """

    producer: str
    consumers: tuple[str, ...]
    channels: int
    rectified: frozenset[str] = frozenset()


def rescale(network: QuantizedNetwork, site: Site, factors: Tensor) -> None:
    """Divide the producer's output channels by ``factors`` (C,), multiply the consumers' input channels; in place."""
    with torch.no_grad():
        producer = network.network.get_submodule(site.producer)
        factors = factors.to(producer.weight)
        axis = 0 if isinstance(producer, nn.LayerNorm) else output_channel_axis(producer.layer)
        producer.weight.div_(factors.view([-1 if a == axis else 1 for a in range(producer.weight.dim())]))
        if producer.bias is not None:
            producer.bias.div_(factors)
        for name in site.consumers:
            layer = network.network.get_submodule(name)
            layer.weight.copy_(rescaled_inputs(layer, factors))


def rescaled_inputs(layer: QuantizedLayer, factors: Tensor) -> Tensor:
    """The layer's weight with its input channels multiplied by ``factors`` (C,); a new tensor."""
    weight = layer.weight.detach()
    if isinstance(layer.layer, nn.ConvTranspose2d):
        return weight * factors.view(-1, *[1] * (weight.dim() - 1))
    groups = getattr(layer.layer, "groups", 1)
    rows = weight.unflatten(0, (groups, -1))  # (G, O / G, C / G, ...)
    return (rows * factors.view(groups, 1, -1, *[1] * (rows.dim() - 3))).flatten(0, 1)


def weights_by_input(layer: QuantizedLayer) -> Tensor:
    """(C, N): the weights that read each input channel."""
    weight = layer.weight.detach()
    if isinstance(layer.layer, nn.ConvTranspose2d):
        return weight.flatten(1)
    rows = weight.unflatten(0, (getattr(layer.layer, "groups", 1), -1))
    return rows.movedim(2, 1).flatten(0, 1).flatten(1)


def leaves(raw: object) -> list[Tensor]:
    """The floating tensors among raw outputs."""
    return [leaf for leaf in tree_leaves(raw) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def find_sites(network: QuantizedNetwork, run: CalibrationRun) -> list[Site]:
    """Where it looks as if channels could be rescaled, in one run of the network with its quantizers off.

    The output of a quantized layer or of a layer norm goes, through ReLU or nothing, into quantized layers and nowhere else,
    and these read nothing else. Besides, an attention's values on their way to the output projection, by their names.
    """
    watch = _Watch(network)
    with torch.no_grad(), watch:
        for raw in run():
            watch.end_of_part(raw)
    return watch.sites()


def keeps_outputs(network: QuantizedNetwork, site: Site, run: CalibrationRun, want: list[object]) -> bool:
    """Whether rescaling at a site leaves the raw outputs as they are; the network is the same afterwards.

    Factors that are powers of two are exact in floating point, so that nothing but a wrong site can change an output.

    Args:
        network: With its quantizers off.
        site: The site.
        run: Runs the network.
        want: What that yielded before.
    """
    factors = 2.0 ** (torch.arange(site.channels) % 5 - 2)
    rescale(network, site, factors)
    with torch.no_grad():
        got = list(run())
    rescale(network, site, 1 / factors)
    # Kernels may still add in another order, by the hardware's choice.
    pairs = zip(leaves(got), leaves(want), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=1e-5 * b.abs().max().item()) for a, b in pairs if b.numel())


class _Watch(TorchFunctionMode):
    """Watches one run: whose channels every tensor has, and who reads them."""

    def __init__(self, network: QuantizedNetwork) -> None:
        super().__init__()
        self.network = network.network
        self.modules: dict[str, nn.Module] = dict(network.layer_quantizers())
        for name, module in self.network.named_modules():
            if isinstance(module, nn.LayerNorm) and module.weight is not None and module.weight.dim() == 1:
                self.modules[name] = module
        # None stands for anything that channels cannot be followed through.
        self.makers: dict[int, str] = {}
        self.readers: dict[str, set[str | None]] = {}
        self.sources: dict[str, set[str | None]] = {}
        self.outputs: dict[int, str] = {}
        self.uses: dict[str, set[str]] = {}  # functions that read a layer's very output
        self._kept: list[Tensor] = []  # keeps tensors alive, so that an id names one tensor
        self._inside = 0

    def __enter__(self) -> "_Watch":
        self._handles = []
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_pre_hook(self._entering(name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._leaving(name)))
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def _entering(self, name: str):
        def enter(module: nn.Module, args: tuple, kwargs: dict) -> None:
            first, *rest = operands_of((*args, *kwargs.values()))
            self._read(first, name if isinstance(module, QuantizedLayer) else None)
            self.sources.setdefault(name, set()).add(self.makers.get(id(first)))
            for tensor in rest:
                self._read(tensor, None)
            self._inside += 1

        return enter

    def _leaving(self, name: str):
        def leave(module: nn.Module, args: tuple, out: Tensor) -> None:
            self._inside -= 1
            self._make(out, name)
            self.outputs[id(out)] = name

        return leave

    def _make(self, tensor: Tensor, name: str) -> None:
        self._kept.append(tensor)
        self.makers[id(tensor)] = name

    def _read(self, tensor: Tensor, reader: str | None) -> None:
        maker = self.makers.get(id(tensor))
        if maker is not None:
            self.readers.setdefault(maker, set()).add(reader)
        self._use(tensor, "another")

    def _use(self, tensor: Tensor, function: str) -> None:
        if id(tensor) in self.outputs:
            self.uses.setdefault(self.outputs[id(tensor)], set()).add(function)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if self._inside or not operands_of((out,)):  # asking for a size or a type is no use of the values
            return out
        inputs, name = operands_of((*args, *(kwargs or {}).values())), getattr(function, "__name__", "")
        if inputs and name in _HOMOGENEOUS:
            self._use(inputs[0], name)
            if id(inputs[0]) in self.makers:
                self._make(out, self.makers[id(inputs[0])])
            return out
        for tensor in inputs:
            self._read(tensor, None)
        return out

    def end_of_part(self, raw: object) -> None:
        """Take in a part's raw outputs, and let go of its tensors: those of the next part are others."""
        for tensor in leaves(raw):
            self._read(tensor, None)
        self.makers.clear()
        self.outputs.clear()
        self._kept.clear()

    def sites(self) -> list[Site]:
        """The sites that the run showed."""
        pairs = {maker: readers for maker, readers in self.readers.items() if None not in readers}
        found = {maker: tuple(sorted(r)) for maker, r in pairs.items() if all(self.sources[n] == {maker} for n in r)}
        for name, module in self.network.named_modules():
            if hasattr(module, "v_proj") and hasattr(module, "out_proj"):
                values, out = (f"{name}.{child}".lstrip(".") for child in ("v_proj", "out_proj"))
                if {values, out} <= set(self.sources):
                    found[values] = (out,)
        rectified = frozenset(name for name, functions in self.uses.items() if functions <= {"relu", "relu_"})
        sites = [Site(m, readers, self._channels(m), rectified.intersection(readers)) for m, readers in found.items()]
        return [site for site in sites if all(self._fits(site, self.modules[name]) for name in site.consumers)]

    def _channels(self, maker: str) -> int:
        """Output channels; 0 for a grouped transposed convolution, whose weight does not count them."""
        module = self.modules[maker]
        if isinstance(module, nn.LayerNorm):
            return module.weight.numel()
        axis = output_channel_axis(module.layer)
        return 0 if axis == 1 and module.layer.groups > 1 else module.weight.shape[axis]

    def _fits(self, site: Site, reader: QuantizedLayer) -> bool:
        """Channels stand on the same axis on both sides, in the same number, and there is a range to gain from."""
        producer = self.modules[site.producer]
        last = isinstance(producer, nn.LayerNorm) or producer.weight.dim() == 2
        return (
            reader.input_quantizer is not None
            and (reader.weight.dim() == 2) == last
            and len(weights_by_input(reader)) == site.channels
        )
