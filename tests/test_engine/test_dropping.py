import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_engine.tuned import state, tuned

from mmsf.engine.dropping_hook import DroppingHook, TuningDropping
from mmsf.errors import UserError
from mmsf.quantization import Quantizer, QuantizerSettings


@pytest.fixture(scope="module")
def plain(roads, tmp_path_factory):
    return tuned(roads, tmp_path_factory.mktemp("plain"))


def differing(one, other) -> list[str]:
    return [name for name, value in state(one).items() if not torch.equal(value, state(other)[name])]


def test_keeping_everything_quantized_is_tuning_without_dropping(roads, plain, tmp_path):
    assert differing(tuned(roads, tmp_path, dict(type="mmsf.DroppingHook", keep_probability=1.0)), plain) == []


def test_dropping_changes_what_is_tuned_and_is_off_at_the_end(roads, plain, tmp_path):
    runner = tuned(roads, tmp_path, dict(type="mmsf.DroppingHook"))
    assert len(differing(runner, plain)) > 10
    assert all(quantizer.dropping is None for _, quantizer in runner.model.quantized.activation_quantizers())
    # It starts from the same measurement.
    assert runner.train_loop.errors["before"] == plain.train_loop.errors["before"]


@given(st.floats(0.1, 1.0), st.floats(0.0, 1.0), st.integers(1, 500))
def test_the_probability_stays_then_rises_evenly_to_one(keep, anneal, iterations):
    hook = DroppingHook(keep, anneal)
    row = [hook.probability(iteration, iterations) for iteration in range(iterations)]
    assert row[-1] == 1
    assert row == sorted(row)
    rise = max(1.0, anneal * iterations)
    assert row[::-1][math.ceil(rise) :] == pytest.approx([keep] * max(0, iterations - math.ceil(rise)))
    steps = [after - before for before, after in pairwise(row)][::-1][: math.floor(rise)]
    assert steps == pytest.approx([(1 - keep) / rise] * len(steps))


def test_nothing_is_dropped_where_no_gradient_is_recorded():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False))
    quantizer.set_range(torch.tensor(-2.0), torch.tensor(2.0))
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    want = quantizer(x)
    quantizer.dropping = TuningDropping(0.5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(quantizer(x), want)
    assert 20 < (quantizer(x) == want).sum() < 80


@pytest.mark.parametrize("settings", [dict(keep_probability=0.0), dict(keep_probability=1.5), dict(anneal=-0.1)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="DroppingHook"):
        DroppingHook(**settings)
