"""Lane Distortion Score of heads: decode, compare with the float lanes."""

import dataclasses

import numpy as np

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.lanes.distortion import DistortionRule, lane_distortion
from mmsf.lanes.rows import frames_to_rows, row_grid


class LaneScorer:
    """Scores heads against the lanes of the float model, which are all that it keeps.

    Args:
        adapter: Decodes heads.
        heads: Heads of the float model for F frames.
        metas: Metainfo of the frames.
        rule: Match rule, penalty and bounding length of Eq. 2.

    Attributes:
        sees_lanes: Whether the float model sees a lane in any of the frames.
    """

    def __init__(self, adapter: Adapter, heads: HeadOutputs, metas: list[dict], rule: DistortionRule) -> None:
        self.adapter, self.rule = adapter, rule
        # All frames are decoded as if they had one size, so that one score compares frames of many cameras.
        self.metas = [{**meta, "ori_shape": FRAME, "own_shape": meta["ori_shape"]} for meta in metas]
        self.rows = row_grid(FRAME[0])
        lanes = adapter.decode(heads, self.metas)
        self.reference = frames_to_rows(lanes, self.rows)
        self.sees_lanes = any(lanes)

    def of(self, heads: HeadOutputs) -> np.ndarray:
        """Scores (D * F,) of D versions of all heads for all frames, frame after frame within a version."""
        return self.compare(heads)[0]

    def compare(self, heads: HeadOutputs) -> tuple[np.ndarray, np.ndarray]:
        """As `of`, and beside each score the number of lanes that were decoded."""
        draws = len(next(iter(heads.semantics.values()))) // len(self.metas)
        lanes = self.adapter.decode(heads, self.metas * draws)
        reference = np.tile(self.reference, (draws, 1, 1))
        scores = lane_distortion(reference, frames_to_rows(lanes, self.rows), self.rows, self.rule).score
        return scores, np.array([len(found) for found in lanes])


class DistortionScorer(LaneScorer):
    """Scores perturbed heads, one at a time, against the lanes of the float model; arguments as `LaneScorer`."""

    def __init__(self, adapter: Adapter, heads: HeadOutputs, metas: list[dict], rule: DistortionRule) -> None:
        super().__init__(adapter, heads, metas, rule)
        self.heads = heads

    def __call__(self, name: str, semantics: np.ndarray) -> np.ndarray:
        """Scores of the frames when head ``name`` is replaced and every other output stays the float model's.

        Args:
            name: The semantic head.
            semantics: Tensor (D * F, ...): D versions of the head for all frames, frame after frame within a version.

        Returns:
            (D * F,) Lane Distortion Scores.
        """
        heads = repeat_heads(self.heads, len(semantics) // len(self.metas))
        heads.semantics[name] = semantics
        return self.of(heads)


def repeat_heads(heads: HeadOutputs, times: int) -> HeadOutputs:
    """The heads of the frames, ``times`` over, version after version."""
    return HeadOutputs(
        *(
            {name: tensor.repeat(times, *[1] * (tensor.dim() - 1)) for name, tensor in group.items()}
            for group in (heads.semantics, heads.confidences, heads.constants)
        )
    )


def frames_of(heads: HeadOutputs, index: "slice | np.ndarray") -> HeadOutputs:
    """The heads of some of the frames."""
    return HeadOutputs(
        *(
            {name: tensor[index] for name, tensor in getattr(heads, field.name).items()}
            for field in dataclasses.fields(heads)
        )
    )
