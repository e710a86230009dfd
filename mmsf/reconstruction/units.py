"""Units of reconstruction: blocks and layers of a quantized network, in the order in which they run."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from mmsf.quantization import QuantizedNetwork, Quantizer
from mmsf.quantization.attention import DecomposedAttention
from mmsf.quantization.functions import operands_of
from mmsf.quantization.layers import QuantizedLayer, output_channel_axis
from mmsf.reconstruction.layout import Layout, layouts


@dataclass(frozen=True)
class Call:
    """One run of a unit within a run of the network.

    Attributes:
        structure: How the inputs nest in positional and keyword arguments.
        inputs: Layout of every input; None where it is the same for all frames, or no tensor.
        outputs: Layout of every output tensor.
    """

    structure: TreeSpec
    inputs: tuple[Layout | None, ...]
    outputs: tuple[Layout | None, ...]


@dataclass
class Unit:
    """A block, a layer, or a product of activations outside of both.

    Attributes:
        name: Of the module in the float network.
        module: The module that runs.
        layers: Name -> quantized layer that is tuned here.
        activations: Name -> activation quantizer inside.
        calls: Runs in one run of the network; those of a layer on inputs of one shape are a single one, see ``joined``.
        recorded_calls: Number of runs before they are joined.
        rectified: Every output goes through a ReLU and nowhere else.
    """

    name: str
    module: nn.Module
    layers: dict[str, QuantizedLayer]
    activations: dict[str, Quantizer]
    calls: list[Call] = field(default_factory=list)
    recorded_calls: int = 0
    rectified: bool = False

    @property
    def joined(self) -> bool:
        """Whether ``calls`` holds several runs as one, their inputs side by side."""
        return self.recorded_calls > len(self.calls)

    @property
    def channels(self) -> int:
        """Channels of the output: those of the layer that ran last; 1 for a product of activations."""
        if not self.layers:
            return 1
        layer = list(self.layers.values())[-1].layer
        return layer.weight.shape[output_channel_axis(layer)] * (
            layer.groups if isinstance(layer, nn.ConvTranspose2d) else 1
        )

    def quantizers(self) -> list[Quantizer]:
        """Every quantizer inside: weights, then activations."""
        weights = [layer.weight_quantizer for layer in self.layers.values() if layer.weight_quantizer is not None]
        return [*weights, *self.activations.values()]

    def outputs(self, call: Call, inputs: list) -> list[Tensor]:
        """Run the module once; call it inside `QuantizedNetwork.running`."""
        args, kwargs = tree_unflatten(inputs, call.structure)
        return output_tensors(self.module(*args, **kwargs))


def output_tensors(output: object) -> list[Tensor]:
    """The floating tensors among the outputs of a module."""
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def find_units(network: QuantizedNetwork, run: Callable[[int], object], blocks: tuple[type[nn.Module], ...]) -> list[Unit]:
    """The units of a network: each of its quantized layers that run is in exactly one.

    A block is a unit if it runs once in a run of the network, and the layers that run nowhere but inside it belong to it. A
    sequence that holds several layers is a block as well, and so is PyTorch's attention. The outermost block counts. Every
    other layer is a unit alone, with all its runs.

    Args:
        network: The quantized network.
        run: ``run(frames)`` runs the network on so many frames and returns its raw outputs.
        blocks: Classes whose modules are blocks; empty for layers only.

    Returns:
        Units, in the order in which they begin.
    """
    watch = _Watch(network, blocks)
    with watch:
        raw = run(1)
    units = watch.units(raw)
    runs = {unit.name: [watch.runs[unit.module]] for unit in units}
    again = _Watch(network, blocks)
    with again:
        run(2)
    for unit in units:
        runs[unit.name].append(again.runs[unit.module])
        _describe_calls(unit, *runs[unit.name])
    return units


def _describe_calls(unit: Unit, one: list[tuple], two: list[tuple]) -> None:
    """Fill in ``calls`` from the runs with one frame and with two."""
    for (inputs, structure, outputs), (more_inputs, _, more_outputs) in zip(one, two, strict=True):
        unit.calls.append(Call(structure, layouts(inputs, more_inputs), layouts(outputs, more_outputs)))
    unit.recorded_calls = len(unit.calls)
    # Of several runs of a layer, each on one tensor of the same shape, one run on all of them.
    first, layout = unit.calls[0], Layout(0, 1)
    alike = all(call == first for call in unit.calls) and first.inputs == first.outputs == (layout,)
    if isinstance(unit.module, QuantizedLayer) and alike and len({inputs[0].shape for inputs, _, _ in one}) == 1:
        together = (Layout(0, len(unit.calls)),)
        unit.calls = [Call(first.structure, together, together)]


class _Watch(TorchFunctionMode):
    """Watches one run: which modules run inside which block, with what, and where layers' outputs go."""

    def __init__(self, network: QuantizedNetwork, blocks: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.network = network
        self.layers = {layer: name for name, layer in network.layer_quantizers()}
        names = {module: name for name, module in network.network.named_modules()}
        self.blocks = {module: name for module, name in names.items() if name and blocks and _is_block(module, blocks)}
        self.operands: dict[nn.Module, dict[str, Quantizer]] = {}
        for name, quantizer in network.activation_quantizers():
            owner = network.network.get_submodule(name.rpartition(":")[0] if ":" in name else name)
            self.operands.setdefault(owner, {})[name] = quantizer
        self.names = names
        products = [m for m in self.operands if m not in self.layers and not any(c in self.layers for c in m.modules())]
        self.singles = {**self.layers, **{module: names[module] for module in products if names[module]}}
        self.order: list[nn.Module] = []
        self.runs: dict[nn.Module, list[tuple]] = {}
        self.inside: dict[nn.Module, set] = {}
        self._stack: list[nn.Module] = []
        self._uses: dict[int, set[str]] = {}

    def __enter__(self) -> "_Watch":
        self._handles = []
        for module in {**self.blocks, **self.singles}:
            self._handles.append(module.register_forward_pre_hook(self._entering))
            self._handles.append(module.register_forward_hook(self._leaving, with_kwargs=True))
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def _entering(self, module: nn.Module, args: tuple) -> None:
        if module not in self.order:
            self.order.append(module)
        if module in self.singles:
            # Which run of which block; a block that runs twice is none.
            self.inside.setdefault(module, set()).add(self._stack[0] if self._stack else None)
        if module in self.blocks:
            self._stack.append(module)

    def _leaving(self, module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        if module in self.blocks:
            self._stack.pop()
        inputs, structure = tree_flatten((args, kwargs))
        outputs = output_tensors(output)
        # Kept, so that an id names one tensor from now on; before, another one may have had it.
        self.runs.setdefault(module, []).append((inputs, structure, outputs))
        for tensor in outputs:
            self._uses.pop(id(tensor), None)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if operands_of((out,)):
            for tensor in operands_of((*args, *(kwargs or {}).values())):
                self._uses.setdefault(id(tensor), set()).add(getattr(function, "__name__", ""))
        return out

    def units(self, raw: object) -> list[Unit]:
        """The units that the run showed; ``raw`` are its raw outputs."""
        for tensor in output_tensors(raw):
            self._uses.setdefault(id(tensor), set()).add("raw output")
        owner = {}
        for module, blocks in self.inside.items():
            block = next(iter(blocks))
            owner[module] = block if len(blocks) == 1 and block is not None and len(self.runs[block]) == 1 else module
        members: dict[nn.Module, list[nn.Module]] = {}
        for module in self.order:
            if module in owner:
                members.setdefault(owner[module], []).append(module)
        return [self._unit(module, members[module]) for module in self.order if module in members]

    def _unit(self, module: nn.Module, members: list[nn.Module]) -> Unit:
        layers = {self.layers[m]: m for m in members if m in self.layers}
        activations = {}
        for inner in [*members, *(module.modules() if module in self.blocks else ())]:
            if inner not in self.layers or inner in members:
                activations.update(self.operands.get(inner, {}))
        unit = Unit(self.names[module], module, layers, activations)
        outputs = [tensor for _, _, tensors in self.runs[module] for tensor in tensors]
        unit.rectified = all(self._uses.get(id(tensor), {""}) <= {"relu", "relu_"} for tensor in outputs)
        return unit


def _is_block(module: nn.Module, blocks: tuple[type[nn.Module], ...]) -> bool:
    if type(module) is nn.Sequential:
        return sum(isinstance(child, QuantizedLayer) for child in module) > 1
    return isinstance(module, (*blocks, DecomposedAttention))
