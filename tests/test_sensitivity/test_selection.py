import numpy as np
import pytest
from test_sensitivity.heads import line_heads, with_noise

from mmsf.lanes.distortion import DistortionRule, frames_distortion
from mmsf.lanes.rows import row_grid
from mmsf.sensitivity import algorithm1_scores, default_top_k, order_agreement, slope_weights, top_k

RULE = DistortionRule()


def test_unperturbed_heads_score_nothing():
    adapter, target, metas = line_heads()
    assert algorithm1_scores(adapter, target, target, metas, RULE) == {"position": 0.0, "bend": 0.0}


def test_only_the_perturbed_head_scores():
    adapter, target, metas = line_heads()
    scores = algorithm1_scores(adapter, target, with_noise(target, "bend", 0.05), metas, RULE)
    assert scores["position"] == 0.0
    assert scores["bend"] > 0


def test_scores_grow_with_noise():
    adapter, target, metas = line_heads()
    sizes = (0.01, 0.05, 0.2)
    scores = [algorithm1_scores(adapter, target, with_noise(target, "position", s), metas, RULE)["position"] for s in sizes]
    assert scores == sorted(scores)
    assert scores[0] > 0


def test_algorithm_1_is_the_papers_loop():
    adapter, target, metas = line_heads()
    output = with_noise(with_noise(target, "position", 0.1), "bend", 0.05)
    rows, total = row_grid(590), dict.fromkeys(adapter.semantic_heads, 0.0)
    for frame in range(len(metas)):
        alone = line_heads()[1]
        one = [{n: t[frame : frame + 1] for n, t in group.items()} for group in (alone.semantics, alone.confidences)]
        for name in adapter.semantic_heads:
            replaced = type(target)({**one[0], name: output.semantics[name][frame : frame + 1]}, one[1])
            lanes = [adapter.decode(heads, metas[:1]) for heads in (type(target)(*one), replaced)]
            total[name] += frames_distortion(*lanes, rows, RULE).score.item()
    assert algorithm1_scores(adapter, target, output, metas, RULE) == pytest.approx(total)


def test_background_queries_do_not_matter():
    adapter, target, metas = line_heads()
    output = with_noise(target, "position", 0.0)
    output.semantics["position"][:, 2:] += 5.0
    assert algorithm1_scores(adapter, target, output, metas, RULE)["position"] == 0.0


@pytest.mark.parametrize(("heads", "k"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_k_is_the_papers(heads, k):
    assert default_top_k(heads) == k


def test_the_highest_scores_are_selected_and_ties_go_to_the_first():
    assert top_k({"a": 1.0, "b": 3.0, "c": 2.0}, 2) == ["b", "c"]
    assert top_k({"a": 1.0, "b": 1.0, "c": 1.0}, 2) == ["a", "b"]


def test_agreement_of_orders():
    scores = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert order_agreement(scores, {"a": 10.0, "b": 20.0, "c": 30.0}) == pytest.approx(1.0)
    assert order_agreement(scores, {"a": 3.0, "b": 2.0, "c": 1.0}) == pytest.approx(-1.0)
    assert order_agreement({"a": 1.0}, {"a": np.nan}) == 1.0
    assert order_agreement(scores, dict.fromkeys(scores, 0.0)) == 0.0


def test_weights_follow_the_slopes_with_a_mean_of_one():
    weights = slope_weights({"a": 1.0, "b": 3.0, "c": 2.0})
    assert weights == pytest.approx({"a": 0.5, "b": 1.5, "c": 1.0})
    assert slope_weights({"a": 0.0, "b": 0.0}) == {"a": 1.0, "b": 1.0}
    assert slope_weights({"a": 7.0}) == {"a": 1.0}
