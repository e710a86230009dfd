"""Bit plans under a budget."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsf.errors import UserError
from mmsf.quantization import Bits
from mmsf.sensitivity.budget import BUDGETS, Budget, LayerCost, plan_bits

LOW, HIGH = Bits(4, 4), Bits(8, 8)
TIES = 2e-6  # of the largest score: plans so close to each other are told apart by their cost


def layers(draw_scores, draw_costs):
    names = [f"layer{i}" for i in range(len(draw_scores))]
    scores = {n: {LOW: low, HIGH: low * share} for n, (low, share) in zip(names, draw_scores)}
    return scores, {n: LayerCost(*cost) for n, cost in zip(names, draw_costs)}


def used(plan, costs, kind):
    high = [name for name, bits in plan.items() if bits == HIGH]
    macs = sum(cost.multiply_accumulates for cost in costs.values())
    if kind == "layers":
        return len(high)
    if kind == "mac_share":
        return sum(costs[n].multiply_accumulates for n in high) / macs
    if kind == "average_weight_bits":
        return sum(costs[n].weights * plan[n].weight for n in plan) / sum(c.weights for c in costs.values())
    operations = {n: costs[n].multiply_accumulates * plan[n].activation * plan[n].weight for n in plan}
    return sum(operations.values()) / (16 * macs)


def distortion(plan, scores):
    return sum(scores[name][bits] for name, bits in plan.items())


def largest(scores):
    return max(score for own in scores.values() for score in own.values())


sizes = st.tuples(st.integers(1, 500), st.integers(1, 10_000))
marks = st.tuples(st.floats(0, 50), st.floats(0, 1))


@given(st.lists(st.tuples(marks, sizes), min_size=1, max_size=6), st.sampled_from(BUDGETS), st.floats(0, 1))
def test_the_plan_is_the_best_of_all_plans_within_the_budget(drawn, kind, share):
    scores, costs = layers([mark for mark, _ in drawn], [size for _, size in drawn])
    limit = {"layers": len(drawn) * share, "mac_share": share, "average_weight_bits": 4 + 4 * share}.get(kind, 1 + 3 * share)
    plan = plan_bits(scores, costs, Budget(kind, limit))
    assert used(plan, costs, kind) <= limit * (1 + 1e-6)
    every = (dict(zip(scores, choice)) for choice in itertools.product((LOW, HIGH), repeat=len(scores)))
    fitting = [p for p in every if used(p, costs, kind) <= limit]
    best = min(distortion(p, scores) for p in fitting)
    assert distortion(plan, scores) <= best + TIES * largest(scores)


@pytest.mark.parametrize("seed", [9, 151])
def test_of_a_hundred_layers_the_plan_is_the_best_one_too(seed):
    random = np.random.default_rng(seed)
    low = random.lognormal(0, 2, 100)
    share = random.uniform(0, 0.2, 100)
    macs = random.lognormal(4, 2, 100).astype(int) + 1
    scores, costs = layers(list(zip(low, share)), [(1, int(cost)) for cost in macs])
    limit = int(0.05 * macs.sum())
    plan = plan_bits(scores, costs, Budget("mac_share", limit / macs.sum()))
    # Dynamic programming: the most that layers at 8 bits can gain with so many multiply-accumulates.
    most = np.zeros(limit + 1)
    for gain, cost in zip(low * (1 - share), macs):
        if cost <= limit:
            most[cost:] = np.maximum(most[cost:], most[: limit + 1 - cost] + gain)
    assert distortion(plan, scores) <= low.sum() - most[limit] + TIES * low.max()


@given(st.lists(st.tuples(marks, sizes), min_size=3, max_size=6), st.sampled_from(BUDGETS), st.floats(0, 1))
def test_layers_that_go_together_get_the_same_bits_and_the_best_such_plan(drawn, kind, share):
    scores, costs = layers([mark for mark, _ in drawn], [size for _, size in drawn])
    limit = {"layers": len(drawn) * share, "mac_share": share, "average_weight_bits": 4 + 4 * share}.get(kind, 1 + 3 * share)
    plan = plan_bits(scores, costs, Budget(kind, limit), [["layer2", "layer0"]])
    assert plan["layer0"] == plan["layer2"]
    every = (dict(zip(scores, choice)) for choice in itertools.product((LOW, HIGH), repeat=len(scores)))
    fitting = [p for p in every if p["layer0"] == p["layer2"] and used(p, costs, kind) <= limit]
    best = min(distortion(p, scores) for p in fitting)
    assert distortion(plan, scores) <= best + TIES * largest(scores)


def test_a_layer_that_gains_nothing_keeps_the_fewest_bits():
    scores = {"a": {LOW: 1.0, HIGH: 1.0}, "b": {LOW: 1.0, HIGH: 0.0}}
    costs = dict.fromkeys(scores, LayerCost(10, 10))
    assert plan_bits(scores, costs, Budget("layers", 2)) == {"a": LOW, "b": HIGH}


def test_a_budget_that_nothing_fits_is_refused():
    with pytest.raises(UserError, match="average_weight_bits=3 cannot be held: the fewest bits everywhere already take 4"):
        plan_bits({"a": {LOW: 1.0, HIGH: 0.0}}, {"a": LayerCost(10, 10)}, Budget("average_weight_bits", 3))


@pytest.mark.parametrize("text", ["mac_share", "bytes=3", "layers=x", "layers=-1", "mac_share=5", 0.05])
def test_a_budget_that_is_written_wrongly_is_refused(text):
    with pytest.raises(UserError, match="budget"):
        Budget.parse(text)
