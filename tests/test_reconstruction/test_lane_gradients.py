"""How much a unit's outputs move the decoded lanes."""

import pytest
import torch

from mmsf.adapters import BezierAdapter, LSTRAdapter
from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.reconstruction import lane_gradients
from mmsf.reconstruction.importance import random_signs

FRAMES, FEATURES, QUERIES = 3, 5, 2
ADAPTERS = {"lstr": LSTRAdapter(), "bezier": BezierAdapter(window=1)}


def heads(adapter: Adapter, family: str, features: torch.Tensor, seed: int = 0) -> HeadOutputs:
    """Heads as a bent function of features (B, F), frame by frame."""
    generator = torch.Generator().manual_seed(seed)

    def mapped(*shape: int) -> torch.Tensor:
        size = torch.Size(shape).numel()
        weight = torch.randn(features.shape[1], size, generator=generator, dtype=features.dtype)
        return (features @ weight).tanh().unflatten(1, shape)

    logits = mapped(QUERIES, 2) if family == "lstr" else mapped(QUERIES)
    curves = mapped(QUERIES, 8) if family == "lstr" else mapped(QUERIES, 4, 2)
    return adapter.split({"logits": 3 * logits, "curves": curves})


def problem(family: str) -> tuple[Adapter, HeadOutputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    adapter = ADAPTERS[family]
    target = heads(adapter, family, torch.randn(FRAMES, FEATURES, generator=generator, dtype=torch.float64))
    return adapter, target, torch.randn(FRAMES, FEATURES, generator=generator, dtype=torch.float64)


def exact_diagonal(family: str, match_distance: float) -> torch.Tensor:
    """Squares of the slopes of weighted points and confidences by central differences, summed; (B, F)."""
    adapter, target, features = problem(family)
    weights = adapter.point_weights(target)

    def everything(x: torch.Tensor) -> torch.Tensor:
        output = heads(adapter, family, x)
        points = weights * adapter.points(output, target) / match_distance / weights.shape[-1] ** 0.5
        return torch.cat((points.flatten(1), output.confidences["lane"].flatten(1)), 1)

    step, columns = 1e-6, []
    for feature in range(FEATURES):
        moved = torch.zeros_like(features)
        moved[:, feature] = step
        slopes = (everything(features + moved) - everything(features - moved)) / (2 * step)
        columns.append(slopes.square().sum(1))
    return torch.stack(columns, 1)


def estimated(family: str, draws: int, seed: int = 0, match_distance: float = 30.0) -> torch.Tensor:
    adapter, target, features = problem(family)
    features.requires_grad_(True)
    unused = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    output = heads(adapter, family, features)
    generator = torch.Generator().manual_seed(seed)
    squares, nothing = lane_gradients(adapter, target, output, [features, unused], match_distance, draws, generator)
    assert not nothing.any()
    return squares


@pytest.mark.parametrize("match_distance", [30.0, 3000.0])
@pytest.mark.parametrize("family", ["lstr", "bezier"])
def test_many_draws_give_the_diagonal_that_finite_differences_give(family, match_distance):
    want = exact_diagonal(family, match_distance)
    assert want.max() > 3 * want.min()
    # A draw is off by 1.4 of the value at most, 2000 of them by 0.03.
    torch.testing.assert_close(estimated(family, 2000, match_distance=match_distance), want, rtol=0.12, atol=0)


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    assert torch.equal(estimated("lstr", 2), estimated("lstr", 2))
    assert not torch.equal(estimated("lstr", 2), estimated("lstr", 2, seed=1))


def test_lanes_that_nobody_sees_do_not_count():
    adapter, target, features = problem("bezier")
    target.confidences["lane"].zero_()
    features.requires_grad_(True)
    squares = []
    for match_distance in (1.0, 1e6):
        output = heads(adapter, "bezier", features)
        generator = torch.Generator().manual_seed(0)
        squares += lane_gradients(adapter, target, output, [features], match_distance, 1, generator)
    assert torch.equal(*squares)
    assert squares[0].all()


def test_signs_are_plus_and_minus_one():
    signs = random_signs(torch.zeros(1000, 3), torch.Generator().manual_seed(0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 0.1
