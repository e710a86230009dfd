"""Masks from labels in the place of the confidence: Eq. 3, for which Eq. 5 stands in where there are no labels."""

from dataclasses import replace

from torch import Tensor

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.lanes.lane import Lane

MASK = "mask."


class LabelFocusAdapter(Adapter):
    """A family's adapter, but for its gates: these are made of masks wherever the heads come with some.

    Raw outputs named ``mask.<confidence>`` are 1 where labelled lanes are and 0 elsewhere, in the shape of the confidence.
    They take its place in the family's own rule of what gates a head, and nowhere else: decoding, the confidence's own loss
    and the points of lanes stay with the confidence.

    Args:
        adapter: The family's.

    Source:
        Selective Focus, Eq. 3.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.semantic_heads, self.channel_axis, self.places = adapter.semantic_heads, adapter.channel_axis, adapter.places
        self.compact, self.has_points = adapter.compact, adapter.has_points

    def split(self, raw: dict[str, Tensor]) -> HeadOutputs:
        """As the family's; masks become constants."""
        heads = self.adapter.split(raw)
        heads.constants = {**heads.constants, **{name: mask for name, mask in raw.items() if name.startswith(MASK)}}
        return heads

    def gate(self, heads: HeadOutputs, name: str) -> Tensor:
        """The family's gate, of the masks."""
        masks = {key.removeprefix(MASK): mask for key, mask in heads.constants.items() if key.startswith(MASK)}
        return self.adapter.gate(replace(heads, confidences={**heads.confidences, **masks}), name)

    def decode(self, heads: HeadOutputs, metas: list[dict]) -> list[list[Lane]]:
        """As the family's."""
        return self.adapter.decode(heads, metas)

    def points(self, heads: HeadOutputs, reference: HeadOutputs) -> Tensor:
        """As the family's."""
        return self.adapter.points(heads, reference)

    def point_weights(self, reference: HeadOutputs) -> Tensor:
        """As the family's."""
        return self.adapter.point_weights(reference)
