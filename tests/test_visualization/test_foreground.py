"""Foreground maps: colours stand where the scores are."""

import numpy as np
from test_visualization.inputs import road, straight

from mmsf.visualization import foreground_figure


def drawn(figure) -> np.ndarray:
    """The colours (h, w, 4) that lie over the frame, and where, (left, right, bottom, top)."""
    frame, over = figure.axes[0].images
    assert frame.get_extent() == [0, 320, 180, 0]
    return np.asarray(over.get_array()), over.get_extent()


def test_cells_without_a_score_leave_the_frame_in_sight():
    scores = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 4.0]])
    colors, extent = drawn(foreground_figure(road(), scores, scores, "title", (2, 3)))
    assert ((colors[..., 3] > 0) == (scores > 0)).all()
    assert colors[1, 2, :3].sum() > colors[0, 1, :3].sum()
    assert extent == [0, 320, 180, 0]


def test_the_map_begins_below_what_the_network_does_not_see():
    scores = np.ones((2, 3))
    figure = foreground_figure(road(), scores, scores, "title", (2, 3), seen_from=0.25)
    assert drawn(figure)[1] == [0, 320, 180, 45]
    assert any("not seen" in text.get_text() for text in figure.axes[0].texts)


def test_a_last_block_that_is_not_full_keeps_the_others_in_place():
    scores = np.ones((2, 2))
    _, (left, right, bottom, top) = drawn(foreground_figure(road(), scores, scores, "title", (3, 4), block=2))
    # Four rows of blocks' cells where the map has three.
    assert (left, right, top) == (0, 320, 0)
    assert bottom == 180 * 4 / 3


def test_a_title_may_hold_any_signs():
    scores = np.ones((2, 3))
    figure = foreground_figure(road(), scores, scores, "head in a$b_{c$.jpg", (2, 3))
    figure.canvas.draw()
    assert figure.axes[0].get_title(loc="left") == "head in a$b_{c$.jpg"


def test_of_several_maps_a_cell_shows_the_largest_score():
    scores = np.zeros((3, 2, 2))
    scores[0, 0, 0], scores[2, 0, 0], scores[1, 1, 1] = 1.0, 5.0, 5.0
    colors, _ = drawn(foreground_figure(road(), scores, scores, "title", (3, 2, 2)))
    assert (colors[0, 0] == colors[1, 1]).all()
    assert (colors[[0, 1], [1, 0], 3] == 0).all()


def test_candidates_are_bars_over_their_confidence_and_lines_over_the_frame():
    scores, confidence = np.array([0.0, 3.0, 1.0]), np.array([0.1, 0.9, 0.8])
    candidates = [[straight(50)], [straight(150)], []]
    figure = foreground_figure(road(), scores, confidence, "title", (3,), candidates=candidates)
    frame, bars, below = figure.axes[:3]
    assert [bar.get_height() for bar in bars.patches] == scores.tolist()
    assert [bar.get_height() for bar in below.patches] == confidence.tolist()
    (lines,) = frame.collections
    assert [line[0, 0] for line in lines.get_segments()] == [50, 150]
    assert lines.get_linewidths()[1] > lines.get_linewidths()[0]


def test_candidates_of_one_block_have_its_colour():
    candidates = [[straight(x)] for x in (10, 20, 30, 40, 50)]
    figure = foreground_figure(road(), np.array([2.0, 0.5, 1.0]), np.ones(3), "title", (5,), block=2, candidates=candidates)
    colors = {
        int(line[0, 0]): tuple(color)
        for line, color in zip(figure.axes[0].collections[0].get_segments(), figure.axes[0].collections[0].get_colors())
    }
    assert colors[10] == colors[20]
    assert colors[30] == colors[40]
    assert len(set(colors.values())) == 3
