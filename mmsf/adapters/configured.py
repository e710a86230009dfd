"""A model family that mmsf does not know, described in a config."""

import logging

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.lane_forms import COORDINATES, lanes_in
from mmsf.adapters.named_outputs import Confidence, NamedOutput, Semantics
from mmsf.adapters.outputs import paths_of, tensor_at, tensors_of
from mmsf.adapters.replay import Recording, predict_from
from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.registry import TASK_UTILS

RAW = "raw."
FRAMES_AT_ONCE = 16
# Pixels by which lanes decoded twice may differ; a larger batch rounds a little otherwise.
SAME = 0.5


@TASK_UTILS.register_module()
class ConfiguredAdapter(Adapter):
    """Heads as a config names them; the detector's own ``predict`` decodes them.

    ``forward(mode="tensor")`` returns the raw outputs, tensors in dicts, lists, tuples or objects. A head is put back into
    them where it was taken from, and ``predict`` makes lanes of that, see `mmsf.adapters.replay`. Examples are in
    docs/quantize_your_own_detector.md.

    Args:
        confidences: Name -> the path of a raw output, or the settings of `Confidence`.
        semantics: Head -> the path of a raw output, or the settings of `Semantics`.
        lanes: Where lanes stand in what ``predict`` returns for an image, see `lanes_in`.
        coordinates: What the lanes' points are in, see `lanes_in`.

    Raises:
        UserError: The description is wrong; `bind` compares it with the network.
    """

    has_points = False
    predicts_itself = True

    def __init__(
        self,
        confidences: dict[str, str | dict],
        semantics: dict[str, str | dict],
        lanes: str | None = None,
        coordinates: str = "pixels",
    ) -> None:
        if not confidences or not semantics:
            raise UserError(f"adapter: there is no {'semantic head' if confidences else 'confidence'}; name one at least")
        twice = set(confidences) & set(semantics)
        if twice:
            raise UserError(f"adapter: {min(twice)!r} is a confidence and a semantic head; give each head a name of its own")
        if coordinates not in COORDINATES:
            raise UserError(f"adapter: coordinates={coordinates!r} is unknown; choose one of {', '.join(COORDINATES)}")
        self.confidences = {name: Confidence.parse(name, given) for name, given in confidences.items()}
        self.semantics = {name: Semantics.parse(name, given) for name, given in semantics.items()}
        self.semantic_heads = tuple(semantics)
        self.lanes, self.coordinates = lanes, coordinates
        self.gates = {name: self._gate_of(name, spec) for name, spec in self.semantics.items()}
        self.sample_type = BaseDataElement
        self._detector: nn.Module | None = None
        self._recordings: dict[tuple, Recording] = {}

    def _gate_of(self, name: str, spec: Semantics) -> str:
        if spec.gate is None and len(self.confidences) > 1:
            raise UserError(
                f"adapter: which confidence gates {name!r}? Give gate={' or gate='.join(map(repr, self.confidences))}"
            )
        gate = next(iter(self.confidences)) if spec.gate is None else spec.gate
        if gate not in self.confidences:
            raise UserError(f"adapter: gate={gate!r} of {name!r} is no confidence; there are {', '.join(self.confidences)}")
        return gate

    def bind(self, detector: nn.Module, input_size: tuple[int, int]) -> None:
        """Look at the raw outputs of the detector, and decode with it from now on.

        Raises:
            UserError: They are not as described.
        """
        self._detector, self._input_size = detector, input_size
        try:
            with torch.no_grad():
                raw = detector(self._blank_images(2), mode="tensor")
        except Exception as error:  # whatever a network of somebody else raises
            images = f"images (2, 3, {input_size[0]}, {input_size[1]})"
            raise UserError(f"adapter: mode='tensor' fails on {images} alone: {type(error).__name__}: {error}") from error
        used = {
            name: [tensor_at(raw, p) for path in self._paths(spec) for p in paths_of(raw, path)]
            for name, spec in self._specs()
        }
        staged = {id(tensor) for found in used.values() for tensor, stage in found if stage is not None}
        leaves = tensors_of(raw)
        names = {id(tensor): name for name, tensor in reversed(leaves.items())}
        self._headed = {names[id(tensor)] for found in used.values() for tensor, _ in found}
        seen = self._recording(2).names
        self._stages: dict[str, int | None] = {}
        for name, tensor in leaves.items():
            many = id(tensor) in staged
            if name not in seen or tensor.dim() <= many or tensor.shape[int(many)] != 2:
                continue  # what no head is in and what does not depend on the image is as it was when predict runs
            self._stages[name] = len(tensor) if many else None
        self._sources: dict[str, list[str]] = {}
        for head, found in used.items():
            self._sources[head] = []
            for tensor, stage in found:
                name = names[id(tensor)]
                if name not in self._stages:
                    raise UserError(
                        f"adapter: {head!r}: raw output {name!r}, {tuple(tensor.shape)}, does not depend on the image, is "
                        "computed from another head's, or its first axis is not the batch"
                    )
                self._sources[head].append(name if stage is None else f"{name}.{stage}")
        self._check(self.by_name(raw))

    def _specs(self) -> list[tuple[str, NamedOutput]]:
        return [*self.confidences.items(), *self.semantics.items()]

    @staticmethod
    def _paths(spec: NamedOutput) -> tuple[str, ...]:
        return (spec.output,) if isinstance(spec.output, str) else spec.output

    def _check(self, raw: dict[str, Tensor]) -> None:
        """Refuse numbers that are in two semantic heads; find out how confidences are laid over heads."""
        used = {name: torch.zeros_like(tensor) for name, tensor in raw.items()}
        for name, spec in self.semantics.items():
            counts = [used[source] for source in self._sources[name]]
            spec.write(counts, spec.read(counts) + 1)
            if any((count > 1).any() for count in counts):
                raise UserError(f"adapter: {name!r} holds numbers of {spec.output!r} that another semantic head has already")
        heads = self._confidences(raw)
        self._laid = {
            name: spec.gating(name, heads[self.gates[name]], self._tensors(raw, name))
            for name, spec in self.semantics.items()
        }

    def _tensors(self, raw: dict[str, Tensor], head: str) -> list[Tensor]:
        return [raw[source] for source in self._sources[head]]

    def _confidences(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: spec.probabilities(self._tensors(raw, name)) for name, spec in self.confidences.items()}

    def by_name(self, outputs: object) -> dict[str, Tensor]:
        """The raw outputs that depend on the image, by path; one of several stages by stage."""
        leaves, named = tensors_of(outputs), {}
        for name, stages in self._stages.items():
            named.update({name: leaves[name]} if stages is None else {f"{name}.{i}": t for i, t in enumerate(leaves[name])})
        return named

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Heads (B, places..., C); the raw outputs themselves are constants, by ``raw.<path>``."""
        return HeadOutputs(
            semantics={name: spec.read(self._tensors(raw, name)) for name, spec in self.semantics.items()},
            confidences=self._confidences(raw),
            constants={f"{RAW}{name}": tensor for name, tensor in raw.items()},
        )

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """The confidence, laid over the head as ``gate_axes`` says."""
        return self._laid[name](heads.confidences[self.gates[name]])

    @torch.no_grad()
    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """What the detector's own ``predict`` makes of the raw outputs with the heads in their places.

        Where ``own_shape`` stands beside ``ori_shape``, it is the image's size in truth, for which ``predict`` is asked; the
        lanes are then brought to ``ori_shape``.

        Raises:
            UserError: There is no detector, as behind an exported file, or its ``predict`` cannot be followed.
        """
        if self._detector is None:
            raise UserError(
                "ConfiguredAdapter decodes with the detector's own predict, which an exported file does not bring"
            )
        lanes: list[list[Lane]] = []
        for begin in range(0, len(metas), FRAMES_AT_ONCE):
            own = [
                {**meta, "ori_shape": meta.get("own_shape", meta["ori_shape"])}
                for meta in metas[begin : begin + FRAMES_AT_ONCE]
            ]
            raw = self._raw(heads, slice(begin, begin + len(own)))
            samples = [self.sample_type(metainfo=meta) for meta in own]
            found = predict_from(self._detector, self._recording(len(own)), raw, self._headed, self._input_size, samples)
            lanes += [self.lanes_in(one, meta) for one, meta in zip(found, own)]
        return [
            [Lane(lane.points * _factor(meta), lane.score) for lane in found] if "own_shape" in meta else found
            for found, meta in zip(lanes, metas)
        ]

    def _raw(self, heads: HeadOutputs, frames: slice) -> dict[str, Tensor]:
        """Raw outputs of some frames with the heads in their places, copies, as the detector returns them."""
        device = self._device()
        raw = {
            name.removeprefix(RAW): tensor[frames].detach().to(device, copy=True)
            for name, tensor in heads.constants.items()
            if name.startswith(RAW)
        }
        expected = self._confidences(raw)
        for name, spec in self.semantics.items():
            spec.write(self._tensors(raw, name), heads.semantics[name][frames].detach().to(device))
        for name, spec in self.confidences.items():
            given = heads.confidences[name][frames].detach().to(device)
            if not torch.equal(given, expected[name]):
                spec.write_probabilities(self._tensors(raw, name), given)
        return {
            name: raw[name] if stages is None else torch.stack([raw[f"{name}.{i}"] for i in range(stages)])
            for name, stages in self._stages.items()
        }

    def _device(self) -> torch.device:
        return next((p.device for p in self._detector.parameters()), torch.device("cpu"))

    def _blank_images(self, frames: int) -> Tensor:
        return torch.zeros(frames, 3, *self._input_size, device=self._device())

    def _recording(self, frames: int) -> Recording:
        key = (frames, self._device())
        if key not in self._recordings:
            self._recordings[key] = Recording.of(self._detector, self._blank_images(frames), self._headed)
        return self._recordings[key]

    def lanes_in(self, prediction: object, meta: dict) -> list[Lane]:
        """The lanes of what ``predict`` returned for an image."""
        return lanes_in(prediction, meta, self.lanes, self.coordinates)

    @torch.no_grad()
    def check_decoding(self, images: Tensor, samples: list) -> None:
        """Decode the raw outputs of some frames: the lanes must be those of ``predict`` itself.

        Args:
            images: (B, 3, H, W), preprocessed.
            samples: B samples.

        Raises:
            UserError: They are not: ``predict`` reads something that is not among the raw outputs.
        """
        self.sample_type = type(samples[0])
        metas = [sample.metainfo for sample in samples]
        fresh = [self.sample_type(metainfo=meta) for meta in metas]
        predicted = self._detector(images, fresh, mode="predict")
        wanted = [self.lanes_in(one, meta) for one, meta in zip(predicted, metas)]
        heads = self.split(self.by_name(self._detector(images, mode="tensor")))
        found = self.decode(heads, metas)
        if not _same(wanted, found):
            raise UserError(
                f"adapter: put back, the raw outputs give {sum(map(len, found))} lanes of {len(samples)} frames, predict "
                f"itself {sum(map(len, wanted))}, or others; predict reads something that mode='tensor' does not return"
            )
        if any(wanted):
            self._tell_what_moves_nothing(heads, metas, wanted)

    def _tell_what_moves_nothing(self, heads: HeadOutputs, metas: list[dict], lanes: list[list[Lane]]) -> None:
        generator = torch.Generator().manual_seed(0)
        for name, clean in heads.semantics.items():
            noise = torch.randn(clean.shape, generator=generator).to(clean) * (clean.std() + 1e-3)
            moved = self.decode(
                HeadOutputs({**heads.semantics, name: clean + noise}, heads.confidences, heads.constants), metas
            )
            if _same(lanes, moved):
                print_log(
                    f"adapter: noise on head {name!r} moves no lane; does predict read it?", "current", logging.WARNING
                )

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """Not to be had: ``predict`` need not be differentiable.

        Raises:
            UserError: Always.
        """
        raise UserError("ConfiguredAdapter cannot differentiate lanes; choose an objective on heads, such as 'mse'")

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """As `points`."""
        return self.points(reference, reference)


def _factor(meta: dict) -> np.ndarray:
    """What points of an image of ``own_shape`` are multiplied by for one of ``ori_shape``, x and y."""
    return np.array(meta["ori_shape"][1::-1], np.float64) / np.array(meta["own_shape"][1::-1], np.float64)


def _same(one: list[list[Lane]], other: list[list[Lane]]) -> bool:
    return all(
        len(a) == len(b) and all(len(p) == len(q) and np.abs(p.points - q.points).max() <= SAME for p, q in zip(a, b))
        for a, b in zip(one, other)
    )
