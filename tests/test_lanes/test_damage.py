"""Bends, spikes and misalignments."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmsf.lanes.damage import Damage, damaged_points, lane_damage

ROWS = np.arange(0.0, 400.0, 20.0)  # 20 rows


def lane(x: float = 500.0) -> np.ndarray:
    return np.full(len(ROWS), x)


def damage(reference: list[np.ndarray], perturbed: list[np.ndarray]) -> Damage:
    return lane_damage(*(np.array(lanes).reshape(1, -1, len(ROWS)) for lanes in (reference, perturbed)), ROWS)


def counts(found: Damage) -> dict[str, int]:
    return {name: int(value[0]) for name, value in dataclasses.asdict(found).items() if value[0]}


def test_a_shift_at_an_end_is_a_bend_and_one_in_the_middle_a_spike():
    bent, spiked = lane(), lane()
    bent[:3] += [60, 40, 20]
    spiked[9:11] -= 50
    assert counts(damage([lane()], [bent])) == {"bends": 3, "bent_lanes": 1}
    assert counts(damage([lane()], [spiked])) == {"spikes": 2, "spiked_lanes": 1}


def test_points_that_are_missing_or_too_many_are_misalignments():
    short, other = lane(), lane(900.0)
    short[:4] = np.nan
    other[15:] = np.nan
    assert counts(damage([lane()], [short])) == {"missing": 4, "misaligned_lanes": 1}
    assert counts(damage([short], [lane()])) == {"extra": 4, "misaligned_lanes": 1}
    assert counts(damage([lane()], [lane(), other])) == {"extra": 15, "invented_lanes": 1}
    assert counts(damage([lane(), other], [lane()])) == {"missing": 15, "lost_lanes": 1}


def test_a_small_shift_is_no_damage():
    assert counts(damage([lane(), lane(900)], [lane(905), lane(490)])) == {}


def test_frames_without_lanes_have_no_damage():
    nothing = np.zeros((2, 0, len(ROWS)))
    assert all((value == 0).all() for value in dataclasses.asdict(lane_damage(nothing, nothing, ROWS)).values())


xs = st.lists(st.lists(st.one_of(st.just(np.nan), st.floats(0, 1640)), min_size=20, max_size=20), max_size=4)


@given(xs, xs)
def test_every_point_is_counted_at_most_once_and_lanes_are_undamaged_against_themselves(one, two):
    one, two = (np.array(lanes).reshape(1, -1, len(ROWS)) for lanes in (one, two))
    found = lane_damage(one, two, ROWS)
    assert found.missing + found.bends + found.spikes <= np.isfinite(one).sum()
    assert found.extra + found.bends + found.spikes <= np.isfinite(two).sum()
    turned = lane_damage(two, one, ROWS)
    assert (found.missing, found.extra) == (turned.extra, turned.missing)
    assert all((value == 0).all() for value in dataclasses.asdict(lane_damage(one, one, ROWS)).values())


def as_lane(xs: np.ndarray) -> np.ndarray:
    return np.stack((xs, ROWS), 1)[np.isfinite(xs)]


def test_damaged_points_stand_where_the_damage_is():
    moved, other = lane(), lane(900.0)
    moved[:2] += 40
    moved[9] -= 50
    moved[18:] = np.nan
    found = damaged_points([as_lane(lane())], [as_lane(moved), as_lane(other)], ROWS)
    assert found["bends"].tolist() == [[540, 0], [540, 20]]
    assert found["spikes"].tolist() == [[450, 180]]
    assert found["missing"].tolist() == [[500, 360], [500, 380]]
    assert found["extra"].tolist() == as_lane(other).tolist()


@given(xs, xs)
def test_there_are_as_many_damaged_points_as_are_counted(one, two):
    # Gaps in a lane would be filled between its points.
    whole = [[np.array(xs) for xs in lanes if np.isfinite(xs).all()] for lanes in (one, two)]
    counted = damage(*whole)
    found = damaged_points(*([as_lane(xs) for xs in lanes] for lanes in whole), ROWS)
    assert {kind: len(points) for kind, points in found.items()} == {kind: getattr(counted, kind)[0] for kind in found}
