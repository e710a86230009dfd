"""What happened to lanes: bends, spikes and misalignments, the three kinds of distortion.

Source: Selective Focus (AAAI 2024), Figure 3: a bend is a shift at a lane's ends, a spike one in its middle, a misalignment
points that are missing or too many. How far is a shift, and what is an end, the paper leaves open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsf.lanes.distortion import DistortionRule, pair_lanes
from mmsf.lanes.lane import Lane
from mmsf.lanes.rows import frames_to_rows


@dataclass(frozen=True)
class Damage:
    """Damage of F frames; every array is (F,) int64.

    Attributes:
        bends: Points that are shifted in the terminal parts of lanes that both decodings have.
        spikes: Points that are shifted in the middle of them.
        missing: Points of the reference where the perturbed decoding has none, those of lost lanes included.
        extra: Points of the perturbed decoding where the reference has none, those of invented lanes included.
        bent_lanes: Lanes with a bend.
        spiked_lanes: Lanes with a spike.
        misaligned_lanes: Lanes that both decodings have, with points missing or too many.
        lost_lanes: Lanes of the reference without a partner.
        invented_lanes: Lanes of the perturbed decoding without a partner.
    """

    bends: np.ndarray
    spikes: np.ndarray
    missing: np.ndarray
    extra: np.ndarray
    bent_lanes: np.ndarray
    spiked_lanes: np.ndarray
    misaligned_lanes: np.ndarray
    lost_lanes: np.ndarray
    invented_lanes: np.ndarray


def lane_damage(
    reference: np.ndarray,
    perturbed: np.ndarray,
    rows: np.ndarray,
    limit: float = 15.0,
    terminal: float = 0.25,
    rule: DistortionRule | None = None,
) -> Damage:
    """Find bends, spikes and misalignments.

    Args:
        reference: (F, L, R) x-positions of the lanes on rows, pixels, NaN where a lane is not.
        perturbed: (F, L2, R) the same for the perturbed decoding.
        rows: (R,) y-positions of the rows, pixels, ascending.
        limit: A point that is further away on its row is shifted, pixels; the default is half the width of a lane in
            CULane's evaluation.
        terminal: Share of the rows that two lanes have in common, at either end, that counts as its terminal part.
        rule: How lanes are paired; None for the defaults.
    """
    frames = len(reference)
    chosen = pair_lanes(reference, perturbed, rows, rule)
    frame, one, two = np.nonzero(chosen)
    before, after = reference[frame, one], perturbed[frame, two]  # (N, R)
    common = np.isfinite(before) & np.isfinite(after)
    place = np.cumsum(common, 1) - 1  # of a common row among the common rows
    edge = np.maximum(np.floor(common.sum(1, keepdims=True) * terminal), 1)
    at_end = (place < edge) | (place >= common.sum(1, keepdims=True) - edge)
    with np.errstate(invalid="ignore"):
        shifted = common & (np.abs(after - before) > limit)
    bends, spikes = (shifted & at_end).sum(1), (shifted & ~at_end).sum(1)
    missing, extra = (np.isfinite(a) & ~common for a in (before, after))

    def of_frames(values: np.ndarray, where: np.ndarray = frame) -> np.ndarray:
        return np.bincount(where, values, frames).astype(np.int64)

    lost, invented = ((np.isfinite(x).any(2) & ~chosen.any(axis)) for x, axis in ((reference, 2), (perturbed, 1)))
    return Damage(
        bends=of_frames(bends),
        spikes=of_frames(spikes),
        missing=of_frames(missing.sum(1)) + (np.isfinite(reference) & lost[..., None]).sum((1, 2)),
        extra=of_frames(extra.sum(1)) + (np.isfinite(perturbed) & invented[..., None]).sum((1, 2)),
        bent_lanes=of_frames(bends > 0),
        spiked_lanes=of_frames(spikes > 0),
        misaligned_lanes=of_frames((missing | extra).any(1)),
        lost_lanes=lost.sum(1),
        invented_lanes=invented.sum(1),
    )


def frames_damage(
    reference: Sequence[Sequence[Lane | np.ndarray]],
    perturbed: Sequence[Sequence[Lane | np.ndarray]],
    rows: np.ndarray,
    **settings: float,
) -> Damage:
    """`lane_damage` of lists of lanes.

    Args:
        reference: F frames, each a list of lanes, pixels of the original image.
        perturbed: The same for the perturbed decodings.
        rows: (R,) y-positions of the rows on which to compare, pixels, see `mmsf.lanes.rows.row_grid`.
        **settings: As `lane_damage`.
    """
    return lane_damage(frames_to_rows(reference, rows), frames_to_rows(perturbed, rows), rows, **settings)
