"""Matrix products, additions and concatenations that are plain function calls, and their quantizers.

They are met where they happen: a `TorchFunctionMode` looks at every call of a PyTorch function while the network runs,
and hooks say inside which module. Nothing is traced, so Python control flow stays free. A call is named by its module,
its kind and its number within one run of the module: ``transformer.encoder.layers.0.self_attn:matmul0``.
"""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from mmsf.quantization.quantizer import Quantizer

# Products that are added to the first argument, which stays in float.
_PRODUCTS_ADDED = ("addmm", "addmm_", "baddbmm", "baddbmm_")
_KINDS = {
    "matmul": ("matmul", "__matmul__", "linalg_matmul", "mm", "mv", "bmm", "einsum", *_PRODUCTS_ADDED),
    "add": ("add", "add_", "__add__", "__radd__", "__iadd__"),
    "concatenation": ("cat", "concat", "concatenate"),
}
_KIND_OF_NAME = {name: kind for kind, names in _KINDS.items() for name in names}
# What these functions call their operands, in the order in which they take them.
_OPERAND_NAMES = ("tensors", "input", "other", "mat1", "mat2", "vec", "batch1", "batch2")


def kind_of(function) -> str | None:
    """'matmul', 'add', 'concatenation', or None for any other PyTorch function."""
    return _KIND_OF_NAME.get(getattr(function, "__name__", ""))


def operands_of(args: tuple) -> list[Tensor]:
    """The tensors among the arguments of a call, those in a list included."""
    found = []
    for arg in args:
        if isinstance(arg, Tensor):
            found.append(arg)
        elif isinstance(arg, (list, tuple)):
            found.extend(a for a in arg if isinstance(a, Tensor))
    return found


def called(function, args: tuple, kwargs: dict) -> tuple[tuple, tuple, dict]:
    """Arguments of a known call: those before its operands, the operands and what follows them, and keyword arguments."""
    named = [name for name in _OPERAND_NAMES if name in kwargs]
    args = (*args, *(kwargs[name] for name in named))
    first = int(getattr(function, "__name__", "") in _PRODUCTS_ADDED)
    return args[:first], args[first:], {name: value for name, value in kwargs.items() if name not in named}


def with_operands(args: tuple, operands: Iterator[Tensor]) -> tuple:
    """``args`` with its tensors replaced, in the order of `operands_of`."""

    def replaced(arg):
        if isinstance(arg, Tensor):
            return next(operands)
        if isinstance(arg, (list, tuple)):
            return type(arg)(next(operands) if isinstance(a, Tensor) else a for a in arg)
        return arg

    return tuple(replaced(arg) for arg in args)


class ModuleStack:
    """Which module runs now, and how many calls of each kind it has made in this run.

    Args:
        names: Module to name. Calls inside a module that is not listed count for the one around it.
        opaque: Modules whose inside is no one's business (layers that quantize themselves).
    """

    def __init__(self, names: dict[nn.Module, str], opaque: set[nn.Module]) -> None:
        self._names = names
        self._opaque = opaque
        self._stack: list[tuple[str | None, Counter]] = []

    def attach(self) -> list[RemovableHandle]:
        """Put the hooks in place; they stand until their handles are removed."""
        handles = []
        for module in [*self._names, *self._opaque]:
            name = None if module in self._opaque else self._names[module]
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving, always_call=True))
        return handles

    def clear(self) -> None:
        """Forget a run that an error ended."""
        self._stack.clear()

    def _entering(self, name: str | None):
        return lambda module, args: self._stack.append((name, Counter()))

    def _leaving(self, module, args, output) -> None:
        self._stack.pop()

    def next_key(self, kind: str) -> str | None:
        """Name of the call of this kind that happens now; None inside an opaque module."""
        if not self._stack or self._stack[-1][0] is None:
            return None
        name, counter = self._stack[-1]
        counter[kind] += 1
        return f"{name}:{kind}{counter[kind] - 1}"


def decomposed_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``F.scaled_dot_product_attention`` as two matrix products around a softmax, without dropout."""
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), key.transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.matmul(scores.softmax(-1), value)


class QuantizedFunctions(TorchFunctionMode):
    """Passes the operands of known calls through quantizers while a network runs.

    Args:
        stack: Says which call is happening.
        quantizers: Name of the call to one quantizer an operand (``QuantizedCall``).
        kinds: The kinds of call to look at.
    """

    def __init__(self, stack: ModuleStack, quantizers: "dict[str, QuantizedCall]", kinds: set[str]) -> None:
        super().__init__()
        self._stack, self._quantizers, self._kinds = stack, quantizers, kinds

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") == "scaled_dot_product_attention" and "matmul" in self._kinds:
            with self:
                return decomposed_product_attention(*args, **kwargs)
        kind = kind_of(function)
        if kind in self._kinds:
            key = self._stack.next_key(kind)
            call = self._quantizers.get(key)
            if call is not None:
                return _quantized(call, function, args, kwargs)
        return function(*args, **kwargs)


def _quantized(call: "QuantizedCall", function, args: tuple, kwargs: dict) -> Tensor:
    """What ``function`` makes of its operands behind their quantizers; an addition in place writes its first one.

    In an exported graph it is an addition like others, which runtimes fuse. ``x += y`` takes its result from there; whoever
    looks at the sum where the first operand was must not, and parity tells.
    """
    before, args, kwargs = called(function, args, kwargs)
    operands = operands_of(args)
    target = operands[0]
    in_place = getattr(function, "__name__", "") in ("add_", "__iadd__") and not torch.jit.is_tracing()
    if in_place:  # a quantizer keeps what it reads, for the gradient
        operands[0] = target.clone()
    out = function(*before, *with_operands(args, iter(call(operands))), **kwargs)
    return target.copy_(out) if in_place else out


class QuantizedCall(nn.Module):
    """The quantizers of one function call, one an operand.

    Args:
        quantizers: None leaves an operand in float.

    Attributes:
        enabled: A plain Python switch; off means that the operands pass unchanged.
    """

    def __init__(self, quantizers: list[Quantizer | None]) -> None:
        super().__init__()
        self.operands = nn.ModuleList(nn.Identity() if q is None else q for q in quantizers)
        self.enabled = True

    def forward(self, operands: list[Tensor]) -> list[Tensor]:
        if not self.enabled:
            return operands
        return [quantizer(operand) for quantizer, operand in zip(self.operands, operands)]
