"""Bit plans from distortion scores: which layers get more bits when only so many can."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from mmsf.errors import UserError
from mmsf.quantization import Bits

BUDGETS = ("average_weight_bits", "bit_operations", "layers", "mac_share")


@dataclass(frozen=True)
class Budget:
    """What a bit plan may cost, over the layers whose bits it decides.

    Attributes:
        kind: ``average_weight_bits``: mean bits of a weight. ``bit_operations``: multiply-accumulates, each times its weight
            and its activation bits, as a multiple of the plan with the fewest bits everywhere. ``layers``: layers with more
            bits. ``mac_share``: share of the multiply-accumulates in layers with more bits.
        limit: At most so much.
    """

    kind: str
    limit: float

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS:
            raise UserError(f"budget {self.kind!r} is unknown; choose one of {', '.join(BUDGETS)}")
        if not self.limit >= 0:
            raise UserError(f"budget {self.kind}: the limit must not be negative; got {self.limit}")
        if self.kind == "mac_share" and self.limit > 1:
            raise UserError(f"budget mac_share is a share from 0 to 1 (5 % is mac_share=0.05); got {self.limit:g}")

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read 'mac_share=0.05'.

        Raises:
            UserError: It is written in another way.
        """
        kind, _, limit = str(text).partition("=")
        try:
            number = float(limit)
        except ValueError as error:
            raise UserError(f"a budget is written like mac_share=0.05; got {text!r}") from error
        return cls(kind, number)


@dataclass(frozen=True)
class LayerCost:
    """What a layer's bits cost.

    Attributes:
        weights: Number of weights; 0 for a function call.
        multiply_accumulates: Of one run.
    """

    weights: int
    multiply_accumulates: int


def plan_bits(
    scores: Mapping[str, Mapping[Bits, float]],
    costs: Mapping[str, LayerCost],
    budget: Budget,
    together: Iterable[Iterable[str]] = (),
) -> dict[str, Bits]:
    """The plan with the least sum of scores within a budget; of equally good ones, one with the least cost.

    A 0-1 program: one choice a layer, one inequality; solved to optimality.

    Args:
        scores: Layer -> bits -> distortion score when that layer alone is quantized so. Every layer has the same choices.
        costs: Layer -> what it costs.
        budget: The limit.
        together: Sets of layers that get the same bits.

    Raises:
        UserError: As `require_room`.
    """
    if not scores:
        return {}
    choices = sorted({bits for own in scores.values() for bits in own}, key=_size)
    lowest = choices[0]
    require_room(costs, choices, budget)
    pairs = [(name, bits) for name in scores for bits in choices]
    cost = np.array([_cost(costs[name], bits, lowest, budget.kind) for name, bits in pairs], float)
    limit = budget.limit * _scale(costs, lowest, budget.kind)
    score = np.array([scores[name][bits] for name, bits in pairs])
    # In thousandths of the largest score, since the solver takes what differs by less than 1e-6 as equal. Cost breaks ties
    # only: all of it together weighs less than the smallest difference that a score can show.
    objective = 1e3 * (score / max(score.max(), 1e-9) + 1e-6 * cost / max(cost.sum(), 1.0))
    one_each = np.kron(np.eye(len(scores)), np.ones(len(choices)))
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(cost[None], -np.inf, limit * (1 + 1e-9))]
    of_layer = dict(zip(scores, np.eye(len(scores))))
    for first, second in (pair for group in together for pair in pairwise(group)):
        equal = np.kron(of_layer[first] - of_layer[second], np.eye(len(choices)))
        constraints.append(LinearConstraint(equal, 0, 0))
    found = milp(
        objective,
        constraints=constraints,
        integrality=np.ones(len(pairs)),
        bounds=Bounds(0, 1),
        # By default it stops at a plan that is within 1e-4 of the best.
        options=dict(mip_rel_gap=0.0),
    )
    if found.x is None:
        raise RuntimeError(f"the bit plan could not be solved: {found.message}")
    return {name: bits for (name, bits), chosen in zip(pairs, found.x) if chosen > 0.5}


def require_room(costs: Mapping[str, LayerCost], choices: Iterable[Bits], budget: Budget) -> None:
    """See that a budget can be held.

    Args:
        costs: Layer -> what it costs.
        choices: Bits that a layer can have.
        budget: The limit.

    Raises:
        UserError: Not even the fewest bits everywhere stay within it.
    """
    choices = sorted(choices, key=_size)
    least = sum(min(_cost(cost, bits, choices[0], budget.kind) for bits in choices) for cost in costs.values())
    total = _scale(costs, choices[0], budget.kind)
    if least > budget.limit * total * (1 + 1e-9):
        held = f"budget {budget.kind}={budget.limit:g} cannot be held"
        raise UserError(f"{held}: the fewest bits everywhere already take {least / total:g}")


def _size(bits: Bits) -> tuple[int, int]:
    return bits.weight or 0, bits.activation or 0


def _cost(layer: LayerCost, bits: Bits, lowest: Bits, kind: str) -> float:
    more = bits != lowest
    if kind == "layers":
        return float(more)
    if kind == "mac_share":
        return layer.multiply_accumulates * more
    if kind == "average_weight_bits":
        return layer.weights * (bits.weight or 0)
    # A product of activations has no weight bits of its own: both operands count.
    first = bits.weight if layer.weights else bits.activation
    return layer.multiply_accumulates * first * bits.activation


def _scale(costs: Mapping[str, LayerCost], lowest: Bits, kind: str) -> float:
    """What a limit of 1 amounts to."""
    if kind == "layers":
        return 1.0
    if kind == "mac_share":
        return float(sum(cost.multiply_accumulates for cost in costs.values()))
    if kind == "average_weight_bits":
        return float(sum(cost.weights for cost in costs.values()))
    return float(sum(_cost(cost, lowest, lowest, kind) for cost in costs.values()))
