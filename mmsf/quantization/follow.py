"""One forward pass, watched: what runs, in which order, what feeds what, and what reaches the outputs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

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
        self.origins: dict[int, frozenset[str]] = {}
        self.since: dict[int, frozenset[str]] = {}  # calls that a tensor has gone through since the last layer
        self.straight: set[int] = set()
        self.uses: Counter = Counter()
        self.kept: list[Tensor] = []  # keeps tensors alive, so that an id names one tensor

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "scaled_dot_product_attention":
            with self:
                return decomposed_product_attention(*args, **kwargs)
        inputs = operands_of((*args, *kwargs.values()))
        key = None
        kind = kind_of(function)
        if kind is not None:
            key = self.stack.next_key(kind)
        out = function(*args, **kwargs)
        origin, since = (
            frozenset().union(*(known.get(id(t), frozenset()) for t in inputs)) for known in (self.origins, self.since)
        )
        if key is not None:
            since = frozenset() if kind == "matmul" else since | {key}
        # An assignment to places of a tensor returns nothing, but writes it.
        made = operands_of(args[:1]) if name == "__setitem__" else operands_of((out,))
        if made:  # asking for a size or a type is no use of the values
            self.uses.update(id(t) for t in inputs)
        for tensor in made:
            self.kept.append(tensor)
            self.origins[id(tensor)], self.since[id(tensor)] = origin, since
        if key is not None and isinstance(out, Tensor):
            self._add_call(key, operands_of(called(function, args, kwargs)[1]), out)
        return out

    def _add_call(self, key: str, operands: list[Tensor], out: Tensor) -> None:
        self.kept.extend(operands)
        call = self.followed.calls.setdefault(key, FollowedCall(0, [], [], reads=[]))
        # A module that is called again may join more tensors than before.
        call.operands = max(call.operands, len(operands))
        call.reads += [set() for _ in operands[len(call.reads) :]]
        call.from_layers = [bool(self.origins.get(id(t))) for t in operands]
        call.straight = [id(t) in self.straight for t in operands]
        if ":matmul" in key and operands:
            call.multiply_accumulates += out.numel() * operands[0].shape[-1]
        for numbers, tensor in zip(call.reads, operands):
            numbers.add(id(tensor))
        call.writes.add(id(out))


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
    outputs: dict[str, list[Tensor]] = {}
    norm_inputs: dict[str, list[Tensor]] = {}

    def after_layer(module: nn.Module, args: tuple, kwargs: dict, out: Tensor) -> None:
        name, x = names[module], in_order(module, args, kwargs)[0]
        if name not in followed.runs:
            followed.order.append(name)
        followed.runs[name] += 1
        followed.multiply_accumulates[name] += multiply_accumulates(module, x, out)
        if not watcher.origins.get(id(x)):
            followed.first.add(name)
        watcher.kept += [x, out]
        watcher.origins[id(out)], watcher.since[id(out)] = frozenset([name]), frozenset()
        watcher.straight.add(id(out))
        followed.reads.setdefault(name, set()).add(id(x))
        outputs.setdefault(name, []).append(out)

    def after_norm(module: nn.Module, args: tuple, kwargs: dict, out: Tensor) -> None:
        x = in_order(module, args, kwargs)[0]
        norm_inputs.setdefault(names[module], []).append(x)
        if id(x) in watcher.straight:
            watcher.straight.add(id(out))

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
    for tensor in _tensors(raw):
        watcher.uses[id(tensor)] += 1
        followed.last |= watcher.origins.get(id(tensor), frozenset())
        followed.last_calls |= watcher.since.get(id(tensor), frozenset())
    producers = {id(out): name for name, outs in outputs.items() for out in outs}
    for norm, inputs in norm_inputs.items():
        feeding = {producers.get(id(t)) for t in inputs}
        layer = next(iter(feeding))
        alone = len(feeding) == 1 and layer is not None and len(outputs[layer]) == len(inputs)
        # A norm's channels are on axis 1; a linear layer's only if it gives (N, C), a convolution's if there is a batch.
        alone = alone and all(t.dim() == layers[layer].weight.dim() for t in inputs)
        if alone and all(watcher.uses[id(out)] == 1 for out in outputs[layer]):
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
