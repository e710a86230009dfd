"""A detector's own ``predict`` on raw outputs that are given: everything before them is skipped.

Detectors compute their raw outputs in any way they like, and many decode them in the same method. So the operations of one
run with ``mode="tensor"`` are written down, and ``predict`` runs with the same operations answered from these notes: what
depends on the image gives a blank of the right shape, what makes a raw output gives the tensor that is put there. What
follows is computed. A blank costs nothing, so hundreds of frames are decoded without one run of the backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmsf.adapters.outputs import tensors_of
from mmsf.errors import UserError

IMAGE = (-1, 0)
# Functions whose results do not depend on the values of the tensor that they are given.
_SHAPE_ONLY = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
# Functions that turn a tensor's values into something that is no tensor.
_READERS = {"item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "equal", "allclose"}


@dataclass
class Operation:
    """One operation that depends on the image.

    Attributes:
        function: What was called.
        sources: Which results it took, each as (operation, position) or `IMAGE`.
        result: What came out, flattened; (shape, dtype) in the place of tensors.
        form: How the result is put together again.
        in_place: It changed its first argument.
    """

    function: Callable
    sources: set[tuple[int, int]]
    result: list
    form: object
    in_place: bool


class _Mode(TorchFunctionMode):
    """What recording and replaying have in common: tensors that depend on the image carry a mark."""

    def marks_of(self, args: tuple, kwargs: dict) -> set[tuple[int, int]]:
        found = {self.mark_of(leaf) for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)}
        return found - {None}

    def mark_of(self, tensor: Tensor) -> tuple[int, int] | None:
        owner, mark = getattr(tensor, "_mmsf_mark", (None, None))
        return mark if owner is self else None

    def mark(self, tensor: Tensor, mark: tuple[int, int] | None) -> None:
        tensor._mmsf_mark = (self, mark)


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
        sources = self.marks_of(args, kwargs)
        in_place = _is_in_place(function, kwargs)
        out = function(*args, **kwargs)
        if not sources or _name(function) in _SHAPE_ONLY:
            return out
        leaves, form = tree_flatten(out)
        made = [(place, leaf) for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        if in_place:
            made = [(0, args[0])]
        elif _name(function) not in _READERS and all(self._is_given(leaf, args) for _, leaf in made):
            return out  # a question of shape or type, or a tensor that was already as was asked
        blanks = [(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.operations.append(Operation(function, sources, blanks, form, in_place))
        for place, leaf in made:
            self.mark(leaf, (len(self.operations) - 1, place))
        return out

    @staticmethod
    def _is_given(tensor: Tensor, args: tuple) -> bool:
        return any(tensor is arg for arg in args)


@dataclass
class Recording:
    """What a run of ``mode="tensor"`` showed.

    Attributes:
        names: The raw outputs that depend on the image.
        steps: The operations before the last of them, in order.
        made: Number of a step -> position in its result -> raw output.
    """

    names: list[str]
    steps: list[Operation]
    made: dict[int, dict[int, str]] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def of(cls, detector: nn.Module, images: Tensor) -> "Recording":
        """Run the detector.

        Args:
            detector: In eval mode.
            images: (B, 3, H, W), preprocessed.
        """
        mode = _Recording()
        images = images.clone()
        mode.mark(images, IMAGE)
        with mode:
            raw = detector(images, mode="tensor")
        marks = {name: mode.mark_of(tensor) for name, tensor in tensors_of(raw).items()}
        named: dict[tuple[int, int], str] = {}
        for name, mark in marks.items():
            if mark is not None:
                named.setdefault(mark, name)
        # What is computed from raw outputs alone is computed again when they are put back.
        open_marks, steps, made = {IMAGE}, [], {}
        for number, operation in enumerate(mode.operations):
            if not operation.sources & open_marks:
                continue
            outputs = {
                place: named[number, place] for place in range(max(1, len(operation.result))) if (number, place) in named
            }
            if outputs:
                made[len(steps)] = outputs
            steps.append(operation)
            open_marks |= {(number, place) for place in range(max(1, len(operation.result))) if place not in outputs}
        names = [name for outputs in made.values() for name in outputs.values()]
        return cls(names, steps[: max(made, default=-1) + 1], made)


class _Replay(_Mode):
    def __init__(self, recording: Recording, raw: dict[str, Tensor]) -> None:
        super().__init__()
        self.recording, self.raw, self.next = recording, raw, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.marks_of(args, kwargs) or _name(function) in _SHAPE_ONLY:
            return function(*args, **kwargs)
        steps = self.recording.steps
        if self.next < len(steps) and function == steps[self.next].function:
            return self._answer(steps[self.next], args)
        out = function(*args, **kwargs)
        made = [leaf for leaf in tree_flatten(out)[0] if isinstance(leaf, Tensor)]
        new = [leaf for leaf in made if not any(leaf is arg for arg in args)]
        if self.next < len(steps) and (new or _name(function) in _READERS or _is_in_place(function, kwargs)):
            raise UserError(
                f"adapter: predict does not compute the raw outputs as mode='tensor' does: it calls {_name(function)} where "
                f"that calls {_name(steps[self.next].function)}; let both take them from one method of the detector"
            )
        for tensor in new:
            self.mark(tensor, IMAGE)
        return out

    def _answer(self, step: Operation, args: tuple) -> object:
        names = self.recording.made.get(self.next, {})
        self.next += 1
        if step.in_place:
            target = args[0]
            if names:
                target.data = self.raw[names[0]]
            self.mark(target, None if names else IMAGE)
            return target if step.result and isinstance(step.result[0], tuple) else None
        leaves = [self._leaf(leaf, names.get(place), args) for place, leaf in enumerate(step.result)]
        return tree_unflatten(leaves, step.form)

    def _leaf(self, leaf: object, name: str | None, args: tuple) -> object:
        if name is not None:
            return self.raw[name]
        if not (isinstance(leaf, tuple) and len(leaf) == 2 and isinstance(leaf[1], torch.dtype)):
            return leaf
        device = next(iter(self.raw.values())).device
        blank = torch.zeros((), dtype=leaf[1], device=device).expand(leaf[0])
        self.mark(blank, IMAGE)
        return blank


@torch.no_grad()
def predict_from(
    detector: nn.Module, recording: Recording, raw: dict[str, Tensor], size: tuple[int, int], samples: list
) -> list:
    """What ``predict`` makes of raw outputs.

    Args:
        detector: In eval mode.
        recording: Of as many images.
        raw: Every raw output of ``recording.names``, (B, ...); ``predict`` may change them in place.
        size: Height and width of the network's input, pixels.
        samples: B samples.

    Raises:
        UserError: ``predict`` does not compute the raw outputs that were put in.
    """
    mode = _Replay(recording, raw)
    device = next(iter(raw.values())).device
    images = torch.zeros((), device=device).expand(len(samples), 3, *size)
    mode.mark(images, IMAGE)
    with mode:
        found = detector(images, samples, mode="predict")
    if mode.next < len(recording.steps):
        raise UserError(
            f"adapter: predict does not compute the raw outputs as mode='tensor' does: it never calls "
            f"{_name(recording.steps[mode.next].function)}; let both take them from one method of the detector"
        )
    return list(found)
