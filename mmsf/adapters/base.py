"""What an adapter is: the one place that knows a family's outputs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmsf.adapters.lane_forms import lanes_in
from mmsf.lanes.lane import Lane

# Height and width of the frame, CULane's, that lanes of many cameras are brought to where they are measured together.
FRAME = (590, 1640)


@dataclass
class HeadOutputs:
    """A detector's raw outputs, sorted by what they mean.

    Attributes:
        semantics: Head name -> (B, ...) numbers that place lanes.
        confidences: Name -> (B, ...) probabilities in [0, 1].
        constants: What decoding needs besides; never tuned and never perturbed.
    """

    semantics: dict[str, Tensor]
    confidences: dict[str, Tensor]
    constants: dict[str, Tensor] = field(default_factory=dict)


class Adapter(ABC):
    """Splits the raw outputs of one model family into heads and decodes heads into lanes.

    Attributes:
        semantic_heads: Names of the semantic heads, in the order of reports.
        channel_axis: Axis of the semantic heads along which numbers of different meaning stand.
        places: Raw outputs that say where in the image the others were computed, if the network chooses that by itself.
            Detectors take them as arguments, and then look at these places: so the heads of two models can be compared.
        compact: Large raw outputs of which float16 is kept while tuning: maps of logits or features, whose rounding to 11
            significant bits is far below what quantization does to them.
        has_points: Whether `points` can be had; without them, no loss on lanes.
        predicts_itself: Whether the detector's own ``predict`` is to be run and its predictions left as they are.
    """

    semantic_heads: tuple[str, ...] = ()
    channel_axis: int = -1
    places: tuple[str, ...] = ()
    compact: tuple[str, ...] = ()
    has_points: bool = True
    predicts_itself: bool = False

    def run(self, detector: nn.Module, images: Tensor, **places: Tensor) -> dict[str, Tensor]:
        """Raw outputs of a detector of another project, for `AdaptedDetector`.

        Args:
            detector: The detector, of the other project's class.
            images: (B, 3, H, W), preprocessed.
            **places: As `places` says.
        """
        return detector(images, mode="tensor", **places)

    def complete(self, samples: list) -> list:
        """Another project's samples, which get the metainfo that `decode` reads; mmsf's own have it."""
        return samples

    def own_form(self, samples: list) -> list:
        """Samples with ``pred_instances`` as the family's own metric takes them; mmsf's own stay as they are."""
        return samples

    def bind(self, detector: nn.Module, input_size: tuple[int, int]) -> None:  # noqa: B027  most families need none
        """Get to know the float detector, before anything else is asked; nothing to do for a family known here.

        Args:
            detector: In eval mode.
            input_size: Height and width of the network's input, pixels.
        """

    def by_name(self, outputs: object) -> dict[str, Tensor]:
        """Raw outputs by name, from what the detector's ``forward(mode="tensor")`` returns: that itself."""
        return outputs

    def check_decoding(self, images: Tensor, samples: list) -> None:  # noqa: B027
        """Make sure on a few preprocessed frames that `decode` gives what the detector predicts."""

    def lanes_in(self, prediction: object, meta: dict) -> list[Lane]:
        """The lanes of what a model predicted for an image of that metainfo."""
        return lanes_in(prediction, meta)

    @abstractmethod
    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """Sort raw outputs into heads; differentiable, and nothing that decoding needs is lost.

        Args:
            raw: What the detector's ``forward(mode="tensor")`` returns, by name.

        Returns:
            The heads.
        """

    @abstractmethod
    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """The confidence that gates a semantic head.

        Args:
            heads: The heads.
            name: One of ``semantic_heads``.

        Returns:
            Probabilities that broadcast to ``heads.semantics[name]``.
        """

    @abstractmethod
    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """Decode heads into lanes.

        Args:
            heads: The heads of B images.
            metas: Metainfo of each image; at least ``ori_shape``, (height, width) of the original image in pixels.

        Returns:
            The lanes of each image, in pixels of the original image.
        """

    @abstractmethod
    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """Where the candidates' lanes run: decoding as a differentiable function of the heads, for a loss on lanes.

        Args:
            heads: The heads.
            reference: Heads of the float model: which rows, cells or samples of a lane are asked for depends on them alone,
                so that the points of two models belong to each other.

        Returns:
            (B, N, P) positions in pixels of a frame of `FRAME`'s size, P numbers for each of N candidates.
        """

    @abstractmethod
    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """How much each position of `points` counts.

        Args:
            reference: Heads of the float model.

        Returns:
            (B, N, P) in [0, 1]: the confidence of what the position belongs to, 0 where nothing is.
        """

    def packed(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raw outputs as they are kept while tuning: on the CPU, those of ``compact`` in float16."""
        return {name: (_halved(tensor) if name in self.compact else tensor).cpu() for name, tensor in raw.items()}


def _halved(tensor: Tensor) -> Tensor:
    """In float16; what is beyond its range is cut to it."""
    largest = torch.finfo(torch.float16).max
    return tensor.clamp(-largest, largest).half()
