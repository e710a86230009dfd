"""Sensitivity figures: they show the data that they were given."""

import json
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from test_visualization.inputs import ANALYSIS, SENSITIVITY

from mmsf.visualization import curves_figure, figures, layers_figure, losses_figure, svg, timeline_figure, write_figure
from mmsf.visualization.sensitivity import exact_scores


def test_a_curve_runs_through_its_points():
    axes = curves_figure(SENSITIVITY).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    for head, curve in SENSITIVITY["curves"].items():
        assert np.array_equal(lines[head], np.stack([curve["loss"], curve["score"]], axis=1))
    assert axes.get_xscale() == "log"


def test_marks_stand_at_the_first_and_the_last_loss():
    lines = curves_figure(SENSITIVITY).axes[0].lines
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if line.get_marker() == "o"]
    ends = [SENSITIVITY["history"][0], SENSITIVITY["history"][-1]]
    assert marks == [(record["losses"][head], record["scores"][head]) for head in ("range", "shape") for record in ends]


@pytest.mark.parametrize(
    ("iterations", "spans"),
    [(170, [(100, 150), (0, 170)]), (150, [(100, 150), (0, 150)])],
    ids=["ends after the last record", "ends at the last record"],
)
def test_bars_cover_the_iterations_at_which_a_head_was_selected(iterations, spans):
    axes = timeline_figure({**SENSITIVITY, "iterations": iterations}).axes[1]
    paths = [path.vertices[:, 0] for bar in axes.collections for path in bar.get_paths()]
    assert [(path.min(), path.max()) for path in paths] == spans
    assert axes.get_xlim() == (0, iterations)


@pytest.mark.parametrize("draw", [timeline_figure, losses_figure])
def test_the_legend_stands_outside_the_axes(draw):
    figure = draw(SENSITIVITY)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["range", "shape"]
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_scores_by_algorithm_1_are_dots_where_they_were_measured():
    lines = [line for line in timeline_figure(SENSITIVITY).axes[0].lines if line.get_marker() == "o"]
    dots = [line.get_xydata()[~np.isnan(line.get_ydata())].tolist() for line in lines]
    assert dots == [[[50.0, 0.02]], [[50.0, 0.9]]]


def test_scores_by_algorithm_1_are_those_of_the_run_or_else_the_last():
    assert exact_scores(SENSITIVITY) == SENSITIVITY["algorithm1"]
    assert exact_scores({"history": SENSITIVITY["history"]}) == {"range": 0.02, "shape": 0.9}
    assert exact_scores({}) == {}


def test_losses_are_drawn_over_the_iterations():
    lines = {line.get_label(): line.get_xydata() for line in losses_figure(SENSITIVITY).axes[0].lines}
    assert lines["shape"].tolist() == [[record["iteration"], record["losses"]["shape"]] for record in SENSITIVITY["history"]]


def test_a_head_has_one_colour_in_every_figure():
    drawn = [figure.axes[0].lines for figure in figures(SENSITIVITY).values()]
    colors = [
        {line.get_label(): line.get_color() for line in lines if line.get_label() in ("range", "shape")} for lines in drawn
    ]
    assert len(colors) == 3
    assert colors[0] == colors[1] == colors[2]


@pytest.mark.parametrize(
    ("parts", "names"),
    [(["curves"], ["curves"]), (["history", "iterations"], ["selection", "losses"]), (["algorithm1"], [])],
)
def test_figures_are_those_that_the_data_allows(parts, names):
    assert list(figures({part: SENSITIVITY[part] for part in parts})) == names


def test_a_run_of_one_record_without_loss_can_be_drawn():
    record = {
        "iteration": 0,
        "losses": {"mask": 0.0},
        "scores": {"mask": 0.0},
        "weights": {"mask": 1.0},
        "selected": ["mask"],
    }
    assert [svg(figure, name) for name, figure in figures({"history": [record], "iterations": 0}).items()]


def test_a_figure_is_written_as_a_picture(tmp_path):
    write_figure(tmp_path / "curves.png", curves_figure(SENSITIVITY))
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image.shape[1] > 1000
    assert (image[0, 0] == 255).all()


def test_the_svg_takes_the_ink_of_the_page_and_holds_its_words_as_text():
    root = ElementTree.fromstring(svg(curves_figure(SENSITIVITY), "curves"))
    words = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"range", "shape", "Lane Distortion Score"} <= words
    text = svg(curves_figure(SENSITIVITY), "curves")
    assert "currentColor" in text
    assert "#000000" not in text


def test_without_tuning_a_ring_marks_the_present_loss():
    lines = [line for line in curves_figure(ANALYSIS).axes[0].lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines] == [(0.05, 0.006), (0.02, 0.15)]
    assert {line.get_markerfacecolor() for line in lines} == {"none"}


def test_layers_are_drawn_from_the_most_harmful_down_beside_what_they_weigh():
    scores, shares = layers_figure(ANALYSIS).axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["head.last", "backbone.conv1", "neck"]
    assert [bar.get_width() for bar in scores.patches] == [28.0, 6.5, 0.0]
    assert [bar.get_width() for bar in shares.patches] == pytest.approx([1.0, 15.0, 84.0])
    assert scores.yaxis_inverted()


def test_of_many_layers_the_most_harmful_are_drawn():
    many = {f"layer{number}": {"4/4": float(number), "8/8": 0.1} for number in range(60)}
    (axes,) = layers_figure({"layers": many}).axes
    assert [bar.get_width() for bar in axes.patches] == [float(number) for number in range(59, 34, -1)]
    assert len(axes.lines[0].get_xdata()) == 25


def test_names_of_heads_and_layers_may_hold_dollar_signs():
    name = r"a$\q$b"
    renamed = json.loads(json.dumps(SENSITIVITY | {"layers": {name: {"4/4": 1.0}}}).replace('"shape"', json.dumps(name)))
    for figure in figures(renamed).values():
        figure.canvas.draw()
        assert name.replace("$", "") in svg(figure, "one").replace("$", "")
