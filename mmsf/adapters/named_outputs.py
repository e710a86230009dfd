"""Raw outputs as a config names them: which tensor, which of its numbers, and where its channels stand."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mmsf.errors import UserError

ACTIVATIONS = ("sigmoid", "softmax", "none")


@dataclass(frozen=True)
class NamedOutput:
    """Numbers of one raw output, or of one a level.

    Heads are made of them in one layout, (B, places..., C): channels last, whatever the network's own is. Levels of several
    sizes are joined along one axis of places, (B, N, C).

    Attributes:
        output: Path of the tensor, see `mmsf.adapters.outputs.tensors_of`; '*' for every level, or a list of paths.
        channels: Which channels: one, or the first and the one after the last, None and negative ones as in a slice.
            None for all.
        axis: Axis of the channels. By default 1 of (B, C, H, W), the last of (B, N, C), none of (B, N).
        anchors: So many anchors share a cell; their channels stand one anchor after the other on ``axis``.
    """

    output: str | tuple[str, ...]
    channels: int | tuple[int | None, int | None] | None = None
    axis: int | None = None
    anchors: int | None = None

    @classmethod
    def parse(cls, name: str, settings: "str | dict") -> "NamedOutput":
        """From a config: the path alone, or the settings.

        Raises:
            UserError: An unknown setting, or no ``output``.
        """
        settings = {"output": settings} if isinstance(settings, (str, int)) else dict(settings)
        known = [field.name for field in fields(cls)]
        unknown = [key for key in settings if key not in known]
        if unknown:
            raise UserError(f"adapter: {name} has no setting {unknown[0]!r}; there are {', '.join(known)}")
        if "output" not in settings:
            raise UserError(f"adapter: {name} names no raw output; give output=PATH")
        output, channels = settings["output"], settings.get("channels")
        settings["output"] = tuple(map(str, output)) if isinstance(output, (list, tuple)) else str(output)
        if isinstance(channels, (list, tuple)):
            settings["channels"] = tuple(channels)
        if not isinstance(channels, (int, list, tuple, type(None))) or (
            isinstance(channels, (list, tuple)) and len(channels) != 2
        ):
            raise UserError(f"adapter: {name}: channels={channels!r} is neither one channel nor (first, one after the last)")
        return cls(**settings)

    def layout(self, tensor: Tensor) -> Tensor:
        """A view (B, places..., all channels) of a raw tensor."""
        axis = {4: 1, 3: -1}.get(tensor.dim()) if self.axis is None else self.axis
        if axis is None:
            return tensor.unsqueeze(-1)
        if not -tensor.dim() <= axis < tensor.dim() or axis % tensor.dim() == 0:
            raise UserError(f"adapter: axis={axis} is no axis of channels of {self.output!r}, {tuple(tensor.shape)}")
        tensor = tensor.movedim(axis, -1)
        if self.anchors is None:
            return tensor
        if tensor.shape[-1] % self.anchors:
            raise UserError(
                f"adapter: {self.anchors} anchors do not divide the {tensor.shape[-1]} channels of {self.output!r}"
            )
        return tensor.unflatten(-1, (self.anchors, -1))

    @property
    def slice(self) -> slice:
        """The channels, as a slice of the last axis of `layout`."""
        if isinstance(self.channels, int):
            return slice(self.channels, self.channels + 1 or None)
        return slice(*(self.channels or (None, None)))

    def read(self, tensors: list[Tensor], select: bool = True) -> Tensor:
        """(B, places..., C) of one raw tensor, (B, N, C) of those of several levels; all channels without ``select``."""
        parts = [self.layout(tensor)[..., self.slice if select else slice(None)] for tensor in tensors]
        if parts[0].shape[-1] == 0:
            raise UserError(f"adapter: channels={self.channels} takes none of {self.output!r}, {tuple(tensors[0].shape)}")
        return parts[0] if len(parts) == 1 else torch.cat([part.flatten(1, -2) for part in parts], 1)

    def write(self, tensors: list[Tensor], numbers: Tensor, select: bool = True) -> None:
        """Put what `read` gave back into the raw tensors, in place."""
        begin = 0
        for tensor in tensors:
            place = self.layout(tensor)[..., self.slice if select else slice(None)]
            count = place.flatten(1, -2).shape[1]
            own = numbers if len(tensors) == 1 else numbers[:, begin : begin + count]
            place.copy_(own.reshape(place.shape))
            begin += count


@dataclass(frozen=True)
class Confidence(NamedOutput):
    """Which numbers say that a lane is there.

    Attributes:
        activation: 'sigmoid'; 'softmax' over the channels; 'none' for outputs that are probabilities already.
        index: With 'softmax': the lane's class among ``channels``.
        background: With 'softmax', instead of ``index``: the class that is no lane; the confidence is 1 - p(background).
    """

    activation: str = "sigmoid"
    index: int | None = None
    background: int | None = None

    @classmethod
    def parse(cls, name: str, settings: "str | dict") -> "Confidence":
        """As `NamedOutput.parse`.

        Raises:
            UserError: Also an unknown activation, or classes that do not go with it.
        """
        found = super().parse(name, settings)
        if found.activation not in ACTIVATIONS:
            raise UserError(
                f"adapter: {name}: activation={found.activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}"
            )
        classes = [value for value in (found.index, found.background) if value is not None]
        if len(classes) != (found.activation == "softmax"):
            raise UserError(
                f"adapter: {name}: either index=CLASS or background=CLASS goes with activation='softmax', and only with it"
            )
        return found

    def probabilities(self, tensors: list[Tensor]) -> Tensor:
        """(B, places..., K) in [0, 1]; K = 1 after a softmax."""
        logits = self.read(tensors)
        if self.activation == "sigmoid":
            return logits.sigmoid()
        if self.activation == "none":
            return logits
        number = self.background if self.index is None else self.index
        if not -logits.shape[-1] <= number < logits.shape[-1]:
            raise UserError(f"adapter: class {number} is none of the {logits.shape[-1]} of {self.output!r}")
        chosen = logits.softmax(-1)[..., number % logits.shape[-1]].unsqueeze(-1)
        return 1 - chosen if self.index is None else chosen

    def write_probabilities(self, tensors: list[Tensor], probabilities: Tensor) -> None:
        """Change the raw tensors, in place, so that the probabilities are these; where they are already, nothing changes."""
        logits = self.read(tensors)
        same = self.probabilities(tensors) == probabilities
        p = probabilities.clamp(1e-6, 1 - 1e-6)
        if self.activation == "none":
            wanted = probabilities
        elif self.activation == "sigmoid":
            wanted = torch.logit(p)
        else:
            number = (self.background if self.index is None else self.index) % logits.shape[-1]
            own = torch.arange(logits.shape[-1], device=logits.device) == number
            rest = logits.masked_fill(own, -torch.inf)
            rest = rest - rest.logsumexp(-1, keepdim=True)  # among themselves, the other classes stay as they are
            p = p if self.background is None else 1 - p
            wanted = torch.where(own, p.log(), rest + (1 - p).log())
        self.write(tensors, torch.where(same, logits, wanted))


@dataclass(frozen=True)
class Semantics(NamedOutput):
    """Which numbers place lanes.

    Attributes:
        gate: Name of the confidence that gates them; may be left out where there is one confidence.
        gate_axes: For each axis of places of the confidence, the axis of this output that it runs along, counted as the
            network returns it; None takes the largest confidence along it. By default axes of equal size are matched, in
            their order.
    """

    gate: str | None = None
    gate_axes: tuple[int | None, ...] | None = None

    def gating(self, name: str, confidence: Tensor, tensors: list[Tensor]) -> Callable[[Tensor], Tensor]:
        """How a confidence (B, places..., K) becomes one that broadcasts onto these numbers.

        Args:
            name: Of the head.
            confidence: An example.
            tensors: Raw tensors of the same example.

        Raises:
            UserError: It does not broadcast.
        """
        numbers = self.read(tensors)
        own, theirs = tuple(numbers.shape[1:]), tuple(confidence.shape[1:-1])
        if self.gate_axes is None:
            axes = _matched(theirs, own[:-1]) or _matched(theirs, own)
            if axes is None:
                raise UserError(
                    f"adapter: confidence {theirs} does not broadcast onto head {name!r}, {own[:-1]} of {own[-1]} channels; "
                    "name other outputs, or say with gate_axes along which axes it runs (None: take its largest)"
                )
        else:
            axes = self._axes_of(name, tensors[0], theirs, own)
        return lambda given: _along(given, axes, len(own))

    def _axes_of(self, name: str, tensor: Tensor, theirs: tuple[int, ...], own: tuple[int, ...]) -> tuple[int | None, ...]:
        # Where each axis of the raw tensor stands in the common layout, the batch left out.
        axis = {4: 1, 3: -1}.get(tensor.dim()) if self.axis is None else self.axis
        order = [a for a in range(tensor.dim()) if axis is None or a != axis % tensor.dim()]
        order += [] if axis is None else [axis % tensor.dim()]
        if len(self.gate_axes) != len(theirs) or self.anchors or not isinstance(self.output, str) or "*" in self.output:
            raise UserError(
                f"adapter: head {name!r}: gate_axes={self.gate_axes} needs one axis of {self.output!r} for each of the "
                f"{len(theirs)} axes {theirs} of the confidence's places; it does not go with anchors or levels"
            )
        found = []
        for given, size in zip(self.gate_axes, theirs):
            if given is None:
                found.append(None)
                continue
            place = order.index(given % tensor.dim()) - 1 if -tensor.dim() <= given < tensor.dim() else -1
            if place < 0 or size not in (1, own[place]):
                raise UserError(
                    f"adapter: head {name!r}: gate_axes={self.gate_axes} lays a confidence of {size} along axis {given} of "
                    f"{self.output!r}, {tuple(tensor.shape)}"
                )
            found.append(place)
        return tuple(found)


def _matched(theirs: tuple[int, ...], own: tuple[int, ...]) -> tuple[int | None, ...] | None:
    """Axes of equal size, in order; None where there is no such match, or several."""
    matches = _matches(tuple(size for size in theirs if size > 1), own)
    if theirs == own:
        matches = [tuple(place for place, size in enumerate(own) if size > 1)]
    if len(matches) != 1:
        return None
    places = iter(matches[0])
    return tuple(next(places) if size > 1 else None for size in theirs)


def _matches(theirs: tuple[int, ...], own: tuple[int, ...], begin: int = 0) -> list[tuple[int, ...]]:
    if not theirs:
        return [()]
    return [
        (place, *rest)
        for place in range(begin, len(own))
        if own[place] == theirs[0]
        for rest in _matches(theirs[1:], own, place + 1)
    ]


def _along(confidence: Tensor, axes: tuple[int | None, ...], dims: int) -> Tensor:
    """(B, places..., K) to (B, 1 or a size for each of ``dims`` axes): the largest of K and of what runs along no axis."""
    confidence = confidence.amax(-1)
    for number in reversed(range(len(axes))):
        if axes[number] is None:
            confidence = confidence.amax(number + 1)
    kept = [axis for axis in axes if axis is not None]
    sizes = dict(zip(kept, confidence.shape[1:]))
    order = sorted(range(len(kept)), key=kept.__getitem__)
    confidence = confidence.permute(0, *(number + 1 for number in order))
    return confidence.reshape(len(confidence), *(sizes.get(axis, 1) for axis in range(dims)))
