"""Curves over the effort of tuning, from made-up runs."""

import json
import math

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_benchmark.made import LSTR, OWN, finished, grid
from test_benchmark.test_tables import ALL, HALF, QUARTER, rows

from mmsf.benchmark import Method
from mmsf.benchmark.curves import Curve, Point, efforts
from mmsf.benchmark.report import write_tables
from mmsf.benchmark.results import Estimate

OURS = [Method(f"ours-{n}", preset="paper", title=f"Ours {n}", curve="Ours") for n in (1000, 4000)]
QDROP = [Method(f"qdrop-{n}", preset="qdrop", title=f"QDrop {n}", curve="QDrop") for n in (1000, 4000)]
RANGES = Method("omse", title="OMSE", curve="OMSE", draws=False)
ROUND = {factor * 10.0**exponent for factor in (1, 2, 5) for exponent in range(-4, 8)}


def curve(*points: tuple[float, float, float], title: str = "one") -> Curve:
    """A curve through (passes, minutes, F1)."""
    made = tuple(Point(Estimate(f1, 0.01, 0.02), passes, minutes) for passes, minutes, f1 in points)
    return Curve(title, Point(Estimate(0.1, 0.0), 0.0, 0.1), made)


def test_between_two_runs_f1_is_linear_in_the_logarithm_of_the_effort():
    found = curve((100, 1, 0.2), (400, 16, 0.6))
    assert found.at("passes", 200).value == pytest.approx(0.4)
    assert found.at("minutes", 2).value == pytest.approx(0.3)
    assert found.at("minutes", 4).error == pytest.approx(math.hypot(0.01, 0.02))
    assert [found.at("passes", effort).value for effort in (100, 400)] == [0.2, 0.6]


@given(st.floats(0.01, 1e5))
def test_nothing_is_said_far_beyond_what_was_run_and_nothing_leaves_its_neighbours(effort):
    found = curve((100, 1, 0.2), (400, 16, 0.6), (1000, 20, 0.5)).at("passes", effort)
    assert (found is None) == (not 100 / 1.1 <= effort <= 1000 * 1.1)
    assert found is None or 0.2 <= found.value <= 0.6


def test_what_tunes_nothing_is_the_same_from_its_own_end_on():
    found = curve((0, 2, 0.3))
    assert [found.at("passes", effort).value for effort in (1, 1e6)] == [0.3, 0.3]
    assert found.at("minutes", 1.8) is None
    assert found.at("minutes", 100).value == 0.3


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(1.1, 50)), min_size=2, max_size=4))
def test_the_efforts_of_a_table_are_round_and_known_of_two_methods(spans):
    curves = [curve((begin, 1, 0.1), (begin * factor, 2, 0.2)) for begin, factor in spans]
    for effort in efforts(curves, "passes"):
        assert any(effort == pytest.approx(known) for known in ROUND)
        assert sum(one.at("passes", effort) is not None for one in curves) >= 2


def ladder(folder) -> str:
    """OMSE, and ours and QDrop at 1000 and at 4000 passes; QDrop takes twice as long."""
    runs = [
        finished(folder, LSTR, OURS[0], QUARTER, passes=1000, minutes=1),
        finished(folder, LSTR, OURS[1], ALL, passes=4000, minutes=4),
        finished(folder, LSTR, QDROP[0], QUARTER, passes=1000, minutes=2),
        finished(folder, LSTR, QDROP[1], HALF, passes=4000, minutes=8),
        finished(folder, LSTR, RANGES, QUARTER, passes=0, minutes=0.5),
    ]
    return write_tables(folder, grid(detectors=(LSTR,), methods=(RANGES, *OURS, *QDROP), table=None), runs)


def test_methods_are_compared_at_equal_passes(tmp_path):
    head, _, *body = rows(ladder(tmp_path), "F1 at equal sample passes")
    assert head == ["Bits", "Detector", "Method", "1,000", "2,000"]
    assert [row[2] for row in body] == ["OMSE", "Ours", "QDrop"]
    # Half way from a quarter to all frames, and to half of them.
    assert [row[4].partition(" ")[0] for row in body] == ["25.00", "**62.50**", "37.50"]
    assert [row[3].startswith("**25.00**") for row in body] == [True, True, True]


def test_methods_are_compared_at_equal_minutes(tmp_path):
    head, _, *body = rows(ladder(tmp_path), "F1 at equal minutes")
    # Ours is known from 1 to 4 minutes, QDrop from 2 to 8.
    assert head == ["Bits", "Detector", "Method", "2"]
    assert [row[3].partition(" ")[0] for row in body] == ["25.00", "**62.50**", "25.00"]


def test_without_curves_there_is_no_table_of_equal_effort(tmp_path):
    text = write_tables(tmp_path, grid(methods=(OWN,)), [finished(tmp_path, LSTR, OWN, HALF)])
    assert "at equal" not in text


def test_the_plot_of_curves_is_another_than_that_of_dots(tmp_path):
    ladder(tmp_path)
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture.std() > 1
    assert picture.shape[1] > 1.5 * picture.shape[0]  # two panels side by side


def test_the_means_tell_the_passes(tmp_path):
    ladder(tmp_path)
    means = json.loads((tmp_path / "cells.json").read_text())["means"]
    assert {mean["method"]: mean["sample_passes"] for mean in means}["qdrop-4000"] == 4000
