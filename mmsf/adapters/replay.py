"""A detector's own ``predict`` on raw outputs that are given: everything before them is skipped.

Detectors compute their raw outputs in any way they like, and many decode them in the same method. So the operations of one
run with ``mode="tensor"`` are written down, and ``predict`` runs with the same operations answered from these notes: what
depends on the image gives a blank of the right shape, what makes a raw output gives the tensor that is put there. What
follows is computed. A blank costs nothing, so hundreds of frames are decoded without one run of the backbone.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmsf.adapters.outputs import tensors_of
from mmsf.errors import UserError

Mark = tuple[int, int]  # number of an operation, position in its result
IMAGE: Mark = (-1, 0)
UNKNOWN: Mark = (-2, 0)  # depends on the image, but mode "tensor" does not compute it
# Functions to which only the shape and type of their first tensor matter, or of their second one.
_FIRST_AS_FORM = {
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "new_tensor",
}
_SECOND_AS_FORM = {"to", "type_as", "expand_as", "view_as", "reshape_as"}
# Functions that turn a tensor's values into something that is no tensor.
_READERS = {"item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "equal", "allclose"}


@dataclass
class Operation:
    """One operation that depends on the image.

    Attributes:
        key: What tells it from others: function, sources, parameters, and arguments that are no tensors.
        sources: The results that it took.
        result: What came out, flattened; (shape, dtype) in the place of tensors.
        form: How the result is put together again.
        in_place: It changed its first argument.
    """

    key: Hashable
    sources: set[Mark]
    result: list
    form: object
    in_place: bool


class _Mode(TorchFunctionMode):
    """What recording and replaying have in common: tensors that depend on the image carry a mark."""

    def mark_of(self, tensor: Tensor) -> Mark | None:
        owner, mark = getattr(tensor, "_mmsf_mark", (None, None))
        return mark if owner is self else None

    def mark(self, tensor: Tensor, mark: Mark | None) -> None:
        tensor._mmsf_mark = (self, mark)

    def look_at(self, function: Callable, args: tuple, kwargs: dict) -> tuple[set[Mark], Hashable]:
        """The marks of what a call takes, and its key."""
        name = _name(function)
        looked_at = args[1:] if name in _FIRST_AS_FORM else args[:1] if name in _SECOND_AS_FORM else args
        leaves = tree_flatten((looked_at, kwargs))[0]
        marks = [self.mark_of(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
        sources = {mark for mark in marks if mark is not None}
        if not sources:
            return sources, None
        parameters = tuple(id(leaf) for leaf in leaves if isinstance(leaf, nn.Parameter))
        rest = repr([leaf for leaf in leaves if not isinstance(leaf, Tensor)])
        return sources, (function, tuple(marks), parameters, rest)


def _name(function: Callable) -> str:
    return getattr(function, "__name__", "")


def _is_in_place(function: Callable, kwargs: dict) -> bool:
    name = _name(function)
    special = name == "__setitem__" or (name.startswith("__i") and name not in ("__index__", "__int__", "__invert__"))
    return special or (name.endswith("_") and not name.endswith("__")) or bool(kwargs.get("inplace"))


class _Recording(_Mode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        sources, key = self.look_at(function, args, kwargs)
        out = function(*args, **kwargs)
        if not sources:
            return out
        leaves, form = tree_flatten(out)
        made = [(place, leaf) for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        in_place = _is_in_place(function, kwargs)
        if in_place:
            made = [(0, args[0])]
        elif _name(function) not in _READERS and all(any(leaf is arg for arg in args) for _, leaf in made):
            return out  # a question of shape or type, or a tensor that was already as was asked
        blanks = [(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.operations.append(Operation(key, sources, blanks, form, in_place))
        for place, leaf in made:
            self.mark(leaf, (len(self.operations) - 1, place))
        return out


@dataclass
class Recording:
    """What a run of ``mode="tensor"`` showed.

    Attributes:
        operations: Those that depend on the image, in order.
        made: Mark -> the raw output with it.
        steps: Key -> numbers of the operations that are not computed from raw outputs alone, in order.
    """

    operations: list[Operation]
    made: dict[Mark, str]
    steps: dict[Hashable, list[int]]

    @classmethod
    @torch.no_grad()
    def of(cls, detector: nn.Module, images: Tensor, heads: set[str]) -> "Recording":
        """Run the detector.

        Args:
            detector: In eval mode.
            images: (B, 3, H, W), preprocessed.
            heads: The raw outputs that heads are in. What these are computed from is no raw output to be put back.
        """
        mode = _Recording()
        images = images.clone()
        mode.mark(images, IMAGE)
        with mode:
            raw = detector(images, mode="tensor")
        marks = {name: mode.mark_of(tensor) for name, tensor in tensors_of(raw).items()}
        before = _ancestors(mode.operations, {marks[name] for name in heads} - {None, IMAGE})
        named: dict[Mark, str] = {}
        for name, mark in sorted(marks.items(), key=lambda item: item[0] not in heads):
            if mark not in (None, IMAGE) and (name in heads or mark not in before):
                named.setdefault(mark, name)
        # What is computed from raw outputs alone is computed again when they are put back.
        unknown, made, steps = {IMAGE}, {}, defaultdict(list)
        for number, operation in enumerate(mode.operations):
            if not operation.sources & unknown:
                continue
            steps[operation.key].append(number)
            for place in range(max(1, len(operation.result))):
                if (number, place) in named:
                    made[number, place] = named[number, place]
                else:
                    unknown.add((number, place))
        return cls(mode.operations, made, dict(steps))

    @property
    def names(self) -> set[str]:
        """The raw outputs that can be put back."""
        return set(self.made.values())


def _ancestors(operations: list[Operation], marks: set[Mark]) -> set[Mark]:
    """Everything that results with these marks are computed from."""
    found: set[Mark] = set()
    open_marks = list(marks)
    while open_marks:
        number, _ = open_marks.pop()
        new = operations[number].sources - found - {IMAGE}
        found |= new
        open_marks += new
    return found


class _Replay(_Mode):
    def __init__(self, recording: Recording, raw: dict[str, Tensor]) -> None:
        super().__init__()
        self.recording, self.raw = recording, raw
        self.steps = {key: deque(numbers) for key, numbers in recording.steps.items()}
        self.used: set[str] = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        sources, key = self.look_at(function, args, kwargs)
        if not sources:
            return function(*args, **kwargs)
        if self.steps.get(key):
            return self._answer(self.steps[key].popleft(), args)
        if _is_in_place(function, kwargs):
            self.mark(args[0], UNKNOWN)
            return args[0]
        out = function(*args, **kwargs)
        for leaf in tree_flatten(out)[0]:
            if isinstance(leaf, Tensor) and not any(leaf is arg for arg in args):
                self.mark(leaf, UNKNOWN)
        return out

    def _answer(self, number: int, args: tuple) -> object:
        operation = self.recording.operations[number]
        if not operation.in_place:
            leaves = [self._leaf(leaf, (number, place)) for place, leaf in enumerate(operation.result)]
            return tree_unflatten(leaves, operation.form)
        target, name = args[0], self.recording.made.get((number, 0))
        if name is not None:
            target.data = self._take(name)
        self.mark(target, (number, 0) if name is None else None)
        return target if operation.result and isinstance(operation.result[0], tuple) else None

    def _leaf(self, leaf: object, mark: Mark) -> object:
        if mark in self.recording.made:
            return self._take(self.recording.made[mark])
        if not (isinstance(leaf, tuple) and len(leaf) == 2 and isinstance(leaf[1], torch.dtype)):
            return leaf
        blank = torch.zeros((), dtype=leaf[1], device=next(iter(self.raw.values())).device).expand(leaf[0])
        self.mark(blank, mark)
        return blank

    def _take(self, name: str) -> Tensor:
        self.used.add(name)
        return self.raw[name]


@torch.no_grad()
def predict_from(
    detector: nn.Module, recording: Recording, raw: dict[str, Tensor], heads: set[str], size: tuple[int, int], samples: list
) -> list:
    """What ``predict`` makes of raw outputs.

    Args:
        detector: In eval mode.
        recording: Of as many images.
        raw: Every raw output of ``recording.names``, (B, ...); ``predict`` may change them in place.
        heads: Those that heads are in.
        size: Height and width of the network's input, pixels.
        samples: B samples.

    Raises:
        UserError: ``predict`` does not compute a raw output that a head is in.
    """
    mode = _Replay(recording, raw)
    device = next(iter(raw.values())).device
    images = torch.zeros((), device=device).expand(len(samples), 3, *size)
    mode.mark(images, IMAGE)
    with mode:
        found = detector(images, samples, mode="predict")
    if heads - mode.used:
        raise UserError(
            f"adapter: predict does not compute {min(heads - mode.used)!r} by the operations of mode='tensor'; let both "
            "take the raw outputs from one method of the detector"
        )
    return list(found)
