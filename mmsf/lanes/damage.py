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


@dataclass(frozen=True)
class _Found:
    """Damage, point by point. N pairs of lanes, (frame, one, two) saying which; masks are (N, R).

    Attributes:
        before: (N, R) x-positions of the reference's lanes.
        after: (N, R) those of their partners.
        lost: (F, L) bool, lanes of the reference without a partner.
        invented: (F, L2) bool, lanes of the perturbed decoding without one.
    """

    frame: np.ndarray
    before: np.ndarray
    after: np.ndarray
    bends: np.ndarray
    spikes: np.ndarray
    missing: np.ndarray
    extra: np.ndarray
    lost: np.ndarray
    invented: np.ndarray


def _find(
    reference: np.ndarray,
    perturbed: np.ndarray,
    rows: np.ndarray,
    limit: float = 15.0,
    terminal: float = 0.25,
    rule: DistortionRule | None = None,
) -> _Found:
    chosen = pair_lanes(reference, perturbed, rows, rule)
    frame, one, two = np.nonzero(chosen)
    before, after = reference[frame, one], perturbed[frame, two]  # (N, R)
    common = np.isfinite(before) & np.isfinite(after)
    place = np.cumsum(common, 1) - 1  # of a common row among the common rows
    edge = np.maximum(np.floor(common.sum(1, keepdims=True) * terminal), 1)
    at_end = (place < edge) | (place >= common.sum(1, keepdims=True) - edge)
    with np.errstate(invalid="ignore"):
        shifted = common & (np.abs(after - before) > limit)
    missing, extra = (np.isfinite(a) & ~common for a in (before, after))
    lost, invented = ((np.isfinite(x).any(2) & ~chosen.any(axis)) for x, axis in ((reference, 2), (perturbed, 1)))
    return _Found(frame, before, after, shifted & at_end, shifted & ~at_end, missing, extra, lost, invented)


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
    found = _find(reference, perturbed, rows, limit, terminal, rule)

    def of_frames(values: np.ndarray) -> np.ndarray:
        return np.bincount(found.frame, values, len(reference)).astype(np.int64)

    return Damage(
        bends=of_frames(found.bends.sum(1)),
        spikes=of_frames(found.spikes.sum(1)),
        missing=of_frames(found.missing.sum(1)) + (np.isfinite(reference) & found.lost[..., None]).sum((1, 2)),
        extra=of_frames(found.extra.sum(1)) + (np.isfinite(perturbed) & found.invented[..., None]).sum((1, 2)),
        bent_lanes=of_frames(found.bends.any(1)),
        spiked_lanes=of_frames(found.spikes.any(1)),
        misaligned_lanes=of_frames((found.missing | found.extra).any(1)),
        lost_lanes=found.lost.sum(1),
        invented_lanes=found.invented.sum(1),
    )


def damaged_points(
    reference: Sequence[Lane | np.ndarray], perturbed: Sequence[Lane | np.ndarray], rows: np.ndarray, **settings: float
) -> dict[str, np.ndarray]:
    """Where the damage of one frame is.

    Args:
        reference: Lanes of the frame, pixels.
        perturbed: The same for the perturbed decoding.
        rows: (R,) y-positions of the rows on which to compare, pixels, ascending.
        **settings: As `lane_damage`.

    Returns:
        "bends", "spikes", "missing" and "extra" -> points (N, 2), pixels: those of the perturbed decoding, missing
        ones those of the reference.
    """
    one, two = frames_to_rows([reference], rows), frames_to_rows([perturbed], rows)
    found = _find(one, two, rows, **settings)

    def points(*parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Points of (N, R) x-positions where a mask says so."""
        return np.concatenate([np.stack((xs[mask], rows[np.nonzero(mask)[1]]), 1) for xs, mask in parts])

    return {
        "bends": points((found.after, found.bends)),
        "spikes": points((found.after, found.spikes)),
        "missing": points((found.before, found.missing), _whole(one[0], found.lost[0])),
        "extra": points((found.after, found.extra), _whole(two[0], found.invented[0])),
    }


def _whole(lanes: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The x-positions (L, R) of lanes, and the mask of all points of the chosen ones."""
    return lanes, np.isfinite(lanes) & chosen[:, None]
