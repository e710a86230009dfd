"""The figure of a benchmark shows the figures that it was given."""

import pytest

from mmsf.visualization.benchmark import curve_figure, f1_figure, round_numbers

F1 = {
    "W8A8": {"float": {"LSTR": (98.0, 0.5)}, "ours": {"LSTR": (97.0, 0.6)}, "other": {"LSTR": (90.0, 1.0)}},
    "W4A4": {
        "float": {"LSTR": (98.0, 0.5), "GANet": (95.0, 0.7)},
        "ours": {"LSTR": (44.0, 2.0), "GANet": (70.0, 1.5)},
        "other": {"GANet": (60.0, 3.0)},
        "not run": {},
    },
}


@pytest.mark.parametrize("bits", ["W8A8", "W4A4"])
def test_every_method_has_a_dot_and_its_error_at_every_detector(bits):
    axes = f1_figure(F1).axes[list(F1).index(bits)]
    drawn = {container.get_label(): container for container in axes.containers}
    assert set(drawn) == {"ours", "other"}
    for method, container in drawn.items():
        dots, _, (bars,) = container.lines
        assert dots.get_ydata().tolist() == [value for value, _ in F1[bits][method].values()]
        ends = [(path.vertices[0, 1], path.vertices[1, 1]) for path in bars.get_paths()]
        assert ends == [(value - error, value + error) for value, error in F1[bits][method].values()]


def test_the_float_model_is_a_line_across_its_detector():
    lines = [path.vertices for path in f1_figure(F1).axes[1].collections[-1].get_paths()]
    assert [set(line[:, 1]) for line in lines] == [{95.0}]


CURVES = {
    "LSTR, W4A4": {
        "ranges": [(0.0, 0.1, 20.0, 1.0)],
        "ours": [(0.0, 0.2, 10.0, 0.0), (1000.0, 1.0, 30.0, 2.0), (5000.0, 4.0, 60.0, 1.0)],
        "float": [(0.0, 0.0, 98.0, 0.5)],
    }
}


def test_curves_run_over_passes_and_over_minutes():
    by_passes, by_minutes = curve_figure(CURVES).axes
    for axes, axis in ((by_passes, 0), (by_minutes, 1)):
        drawn = {container.get_label(): container.lines[0] for container in axes.containers}
        assert set(drawn) == {"ranges", "ours"}
        for name, line in drawn.items():
            points = CURVES["LSTR, W4A4"][name]
            assert line.get_xdata().tolist() == [point[axis] for point in points]
            assert line.get_ydata().tolist() == [point[2] for point in points]
        (level,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert set(level.get_ydata()) == {98.0}


def test_the_axes_of_curves_name_round_numbers_and_end_where_the_lines_do():
    by_passes, by_minutes = curve_figure(CURVES).axes
    assert [tick.get_text() for tick in by_passes.get_xticklabels()] == ["0", "1,000", "2,000", "5,000"]
    assert [tick.get_text() for tick in by_minutes.get_xticklabels()] == ["0.1", "0.2", "0.5", "1", "2"]
    assert not by_minutes.get_xticks(minor=True).size
    assert by_passes.get_ylim() == by_minutes.get_ylim() == (7.0, 101.0)


def test_lines_of_one_colour_differ_in_their_style():
    many = {"GANet, W4A4": {f"method {number}": [(1000.0, 1.0, 30.0, 2.0)] for number in range(8)}}
    lines = [container.lines[0] for container in curve_figure(many).axes[0].containers]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 8


@pytest.mark.parametrize(
    ("least", "most", "wanted"),
    [(1, 10, [1, 2, 5, 10]), (0.2, 0.9, [0.2, 0.5]), (0.012, 3, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]), (3, 4, [])],
)
def test_round_numbers_are_one_two_and_five_times_powers_of_ten(least, most, wanted):
    assert round_numbers(least, most) == wanted
