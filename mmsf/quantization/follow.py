"""One forward pass, watched: what runs, in which order, what feeds what, and what reaches the outputs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import prod

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmsf.quantization.functions import ModuleStack, called, decomposed_product_attention, kind_of, operands_of
from mmsf.quantization.layers import in_order, multiply_accumulates, operation_of


@dataclass
class FollowedCall:
    """One function call, all its runs together.

    Attributes:
        operands: How many tensors go in, at most.
        from_layers: Of each, whether it comes from layers; of the last run.
        straight: Of each, whether it is a layer's own output (a folded batch norm counts as the layer's).
        multiply_accumulates: Of a matrix product; else 0.
        reads: Of each operand, the tensors of all runs, by number.
        writes: The results of all runs, by number.
    """

    operands: int
    from_layers: list[bool]
    straight: list[bool]
    multiply_accumulates: int = 0
    reads: list[set[int]] = field(default_factory=list)
    writes: set[int] = field(default_factory=set)


@dataclass
class Followed:
    """What one forward pass showed.

    Attributes:
        order: Names of the layers with a weight, in the order of their first run.
        runs: How often each ran.
        multiply_accumulates: Of each layer, all runs together.
        first: Layers that no other layer runs before: they read the images, or constants.
        last: Layers whose output reaches a raw output with no other layer between.
        calls: Function calls (matrix products, additions, concatenations) by name.
        last_calls: Additions and concatenations whose result reaches a raw output with no layer and no product between.
        reads: Layer -> the tensors of all runs that it takes as its first input, by number.
        folding: Batch norm -> the layer that alone feeds it and feeds nothing else, the channels of both on the same axis.
        idle: Layers and batch norms that did not run.
    """

    order: list[str] = field(default_factory=list)
    runs: Counter = field(default_factory=Counter)
    multiply_accumulates: Counter = field(default_factory=Counter)
    first: set[str] = field(default_factory=set)
    last: set[str] = field(default_factory=set)
    calls: dict[str, FollowedCall] = field(default_factory=dict)
    last_calls: set[str] = field(default_factory=set)
    reads: dict[str, set[int]] = field(default_factory=dict)
    folding: dict[str, str] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)


class _Watcher(TorchFunctionMode):
    def __init__(self, stack: ModuleStack, followed: Followed) -> None:
        super().__init__()
        self.stack, self.followed = stack, followed
        # Of values, by number.
        self.origins: dict[int, frozenset[str]] = {}
        self.since: dict[int, frozenset[str]] = {}  # calls that a value has gone through since the last layer
        self.straight: set[int] = set()
        self.uses: Counter = Counter()
        self._numbers: dict[int, int] = {}
        self._count = count()
        self._kept: list[Tensor] = []  # keeps tensors alive, so that an id names one tensor

    def number(self, tensor: Tensor) -> int:
        """Number of the value that a tensor has now; one that is written in place has another value from then on."""
        return self._numbers[id(tensor)] if id(tensor) in self._numbers else self.new_number(tensor)

    def new_number(self, tensor: Tensor) -> int:
        """A number that no value has had, for a tensor with a new one."""
        self._kept.append(tensor)
        self._numbers[id(tensor)] = next(self._count)
        return self._numbers[id(tensor)]

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "scaled_dot_product_attention":
            with self:
                return decomposed_product_attention(*args, **kwargs)
        inputs = operands_of((*args, *kwargs.values()))
        read, versions = [self.number(t) for t in inputs], [_version(t) for t in inputs]
        key = None
        kind = kind_of(function)
        if kind is not None:
            key = self.stack.next_key(kind)
            operands = operands_of(called(function, args, kwargs)[1])
            taken = [self.number(t) for t in operands]
        out = function(*args, **kwargs)
        origin, since = (
            frozenset().union(*(known.get(number, frozenset()) for number in read)) for known in (self.origins, self.since)
        )
        if key is not None:
            since = frozenset() if kind == "matmul" else since | {key}
        written = [t for t, version in zip(inputs, versions) if _version(t) != version]
        made = operands_of((out,))
        if made or written:  # asking for a size or a type is no use of the values
            self.uses.update(read)
        for tensor in written:
            if tensor._base is not None:  # a part of another, the rest of which keeps its origin
                whole = self.number(tensor._base)
                known = self.origins.get(whole, frozenset()), self.since.get(whole, frozenset())
                self.describe(self.new_number(tensor._base), origin | known[0], since | known[1])
            self.describe(self.new_number(tensor), origin, since)
        for tensor in made:
            self.describe(self.number(tensor), origin, since)
        if key is not None and isinstance(out, Tensor):
            self._add_call(key, operands, taken, out, args)
        return out

    def describe(self, number: int, origin: frozenset[str], since: frozenset[str]) -> None:
        """Say from which layers a value comes, and through which calls."""
        self.origins[number], self.since[number] = origin, since

    def _add_call(self, key: str, operands: list[Tensor], taken: list[int], out: Tensor, args: tuple) -> None:
        call = self.followed.calls.setdefault(key, FollowedCall(0, [], [], reads=[]))
        # A module that is called again may join more tensors than before.
        call.operands = max(call.operands, len(operands))
        call.reads += [set() for _ in operands[len(call.reads) :]]
        # Integers, such as places of the largest values, come from layers too, and are exact.
        floats = [operand.is_floating_point() for operand in operands]
        call.from_layers = [bool(self.origins.get(number)) and own for number, own in zip(taken, floats)]
        call.straight = [number in self.straight for number in taken]
        if ":matmul" in key and operands:
            call.multiply_accumulates += _products(args, operands, out)
        for numbers, number in zip(call.reads, taken):
            numbers.add(number)
        call.writes.add(self.number(out))


def _products(args: tuple, operands: list[Tensor], out: Tensor) -> int:
    """Multiply-accumulates of a matrix product; of an einsum, whose letters say what is contracted, the product of all."""
    if args and isinstance(args[0], str) and "." not in args[0]:
        terms = args[0].replace(" ", "").partition("->")[0].split(",")
        return prod({letter: size for term, t in zip(terms, operands) for letter, size in zip(term, t.shape)}.values())
    return out.numel() * operands[0].shape[-1]


def _version(tensor: Tensor) -> int:
    """How often a tensor has been written in place; 0 where PyTorch does not count it."""
    return 0 if tensor.is_inference() else tensor._version


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Every module of ``model`` whose weight can be quantized, by name."""
    return {name: module for name, module in model.named_modules() if operation_of(module) is not None}


def follow(model: nn.Module, run: Callable[[], object]) -> Followed:
    """Watch one forward pass of ``model``.

    Args:
        model: The network in eval mode.
        run: Runs it once and returns its raw outputs (tensors in dicts, lists or tuples).

    Returns:
        What the pass showed.
    """
    layers = layers_of(model)
    names = {module: name for name, module in model.named_modules()}
    norms = {module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    followed = Followed()
    stack = ModuleStack({m: n for m, n in names.items() if m not in layers.values()}, set(layers.values()))
    watcher = _Watcher(stack, followed)
    outputs: dict[str, list[int]] = {}
    norm_inputs: dict[str, list[tuple[int, int]]] = {}  # number and dimensions

    def after_layer(module: nn.Module, args: tuple, kwargs: dict, out: Tensor) -> None:
        name, x = names[module], in_order(module, args, kwargs)[0]
        if name not in followed.runs:
            followed.order.append(name)
        followed.runs[name] += 1
        followed.multiply_accumulates[name] += multiply_accumulates(module, x, out)
        read, made = watcher.number(x), watcher.number(out)
        if not watcher.origins.get(read):
            followed.first.add(name)
        watcher.describe(made, frozenset([name]), frozenset())
        watcher.straight.add(made)
        followed.reads.setdefault(name, set()).add(read)
        outputs.setdefault(name, []).append(made)

    def after_norm(module: nn.Module, args: tuple, kwargs: dict, out: Tensor) -> None:
        x = in_order(module, args, kwargs)[0]
        norm_inputs.setdefault(names[module], []).append((watcher.number(x), x.dim()))
        if watcher.number(x) in watcher.straight:
            watcher.straight.add(watcher.number(out))

    handles = [module.register_forward_hook(after_layer, with_kwargs=True) for module in layers.values()]
    handles += [module.register_forward_hook(after_norm, with_kwargs=True) for module in norms]
    handles += stack.attach()
    try:
        with torch.no_grad(), watcher:
            raw = run()
    finally:
        for handle in handles:
            handle.remove()
    followed.idle = {*layers, *(names[norm] for norm in norms)} - {*followed.runs, *norm_inputs}
    for number in map(watcher.number, _tensors(raw)):
        watcher.uses[number] += 1
        followed.last |= watcher.origins.get(number, frozenset())
        followed.last_calls |= watcher.since.get(number, frozenset())
    producers = {number: name for name, numbers in outputs.items() for number in numbers}
    for norm, inputs in norm_inputs.items():
        feeding = {producers.get(number) for number, _ in inputs}
        layer = next(iter(feeding))
        alone = len(feeding) == 1 and layer is not None and len(outputs[layer]) == len(inputs)
        # A norm's channels are on axis 1; a linear layer's only if it gives (N, C), a convolution's if there is a batch.
        alone = alone and all(dimensions == layers[layer].weight.dim() for _, dimensions in inputs)
        if alone and all(watcher.uses[number] == 1 for number in outputs[layer]):
            followed.folding[norm] = layer
    return followed


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (list, tuple, type({}.values()))):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
