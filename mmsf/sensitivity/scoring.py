"""Lane Distortion Score of heads: decode, compare with the float lanes."""

import dataclasses

import numpy as np

from mmsf.adapters.base import FRAME, Adapter, HeadOutputs
from mmsf.lanes.distortion import DistortionRule, lane_distortion
from mmsf.lanes.rows import frames_to_rows, row_grid


class DistortionScorer:
    """Scores perturbed heads against the lanes of the float model.

    Args:
        adapter: Decodes heads.
        heads: Heads of the float model for F frames.
        metas: Metainfo of the frames.
        rule: Match rule, penalty and bounding length of Eq. 2.
    """

    def __init__(self, adapter: Adapter, heads: HeadOutputs, metas: list[dict], rule: DistortionRule) -> None:
        self.adapter, self.heads, self.rule = adapter, heads, rule
        # All frames are decoded as if they had one size, so that one score compares frames of many cameras.
        self.metas = [{**meta, "ori_shape": FRAME, "own_shape": meta["ori_shape"]} for meta in metas]
        self.rows = row_grid(FRAME[0])
        self.reference = frames_to_rows(adapter.decode(heads, self.metas), self.rows)

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

    def of(self, heads: HeadOutputs) -> np.ndarray:
        """Scores (D * F,) of D versions of all heads for all frames, frame after frame within a version."""
        draws = len(next(iter(heads.semantics.values()))) // len(self.metas)
        lanes = self.adapter.decode(heads, self.metas * draws)
        return lane_distortion(
            np.tile(self.reference, (draws, 1, 1)), frames_to_rows(lanes, self.rows), self.rows, self.rule
        ).score


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
