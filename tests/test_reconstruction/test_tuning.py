"""Tuning one unit, and what it is tuned with."""

import pytest
import torch
from test_reconstruction.toy_units import FRAMES, Toy, silent

from mmsf.errors import UserError
from mmsf.quantization import AdaRound, RandomDropping, switched_off
from mmsf.reconstruction import Kept, ReconstructionSettings, TensorMemory, normalise, record, squared_gradients
from mmsf.reconstruction.tuning import seeded_batches


def tuned_weights(toy: Toy, name: str) -> list[torch.Tensor]:
    unit = toy.units[name]
    scales = [quantizer.scale.detach() for quantizer in unit.activations.values()]
    return [*(layer.weight.detach() for layer in unit.layers.values()), *scales]


@pytest.mark.parametrize("name", ["stem", "block", "shared", "attention", "up"])
def test_tuning_lowers_a_units_error_and_leaves_weights_on_their_grid(name, tmp_path):
    toy = Toy()
    tuner = toy.tuner(name, tmp_path, batch_size=FRAMES)
    before = tuner.error()
    tuner.tune_rounding(silent)
    assert tuner.error() < 0.95 * before
    for layer in toy.units[name].layers.values():
        assert layer.weight_quantizer.rounding is None
        assert torch.equal(layer.quantized_weight(), layer.weight)
    assert all(quantizer.dropping is None for quantizer in toy.units[name].activations.values())
    # Other units are as they were.
    other = next(unit for unit in toy.units if unit != name)
    for layer_name, layer in toy.units[other].layers.items():
        assert torch.equal(layer.weight, toy.weights[layer_name])


def test_every_weight_is_decided_at_the_end_of_the_schedule(tmp_path):
    toy = Toy()
    layers, seen = toy.units["block"].layers.values(), []
    # A weight exactly in the middle has no slope; it stays there if no output depends on it either.
    moving = torch.cat([AdaRound(layer.weight, layer.weight_quantizer).logits.abs().flatten() for layer in layers]) > 1e-4
    assert moving.float().mean() > 0.99

    def report(iteration, error, rounding):
        rounded = [layer.weight_quantizer.rounding for layer in layers]
        seen.append(torch.cat([(r() != r.hard()).flatten() for r in rounded])[moving].float().mean().item())

    tuner = toy.tuner("block", tmp_path, iterations=300, rounding_weight=1.0)
    tuner.make_optimizer = lambda groups: torch.optim.Adam(groups, lr=5e-2)
    tuner.tune_rounding(report)
    # Without the regulariser in the warm-up, most weights are between two values of the grid; at the end none is.
    assert seen[59] > 0.5
    assert seen[-1] == 0


def test_the_regulariser_warms_up_and_then_sharpens_linearly():
    settings = ReconstructionSettings(iterations=1000)
    assert settings.beta_at(199) is None
    assert [settings.beta_at(i) for i in (200, 600, 1000)] == [20.0, 11.0, 2.0]


def test_tuning_all_units_lowers_the_error_of_the_heads(tmp_path):
    toy = Toy()
    want = toy.float_run()

    def error() -> float:
        return sum((value - want[name]).square().mean().item() for name, value in toy.run().items())

    before = error()
    for name in toy.units:
        toy.tuner(name, tmp_path, iterations=100).tune_rounding(silent)
    assert error() < 0.9 * before


def test_keeping_everything_quantized_is_no_dropping(tmp_path, monkeypatch):
    results = {}
    for way in ("keep 1", "none", "keep 0.5"):
        toy = Toy()
        tuner = toy.tuner("block", tmp_path, iterations=20, keep_probability=0.5 if way == "keep 0.5" else 1.0)
        if way == "none":
            monkeypatch.setattr(RandomDropping, "__call__", lambda self, quantized, original: quantized)
        tuner.tune_rounding(silent)
        monkeypatch.undo()
        results[way] = tuned_weights(toy, "block")
    assert all(torch.equal(a, b) for a, b in zip(results["keep 1"], results["none"]))
    assert not all(torch.equal(a, b) for a, b in zip(results["keep 1"], results["keep 0.5"]))


def test_files_give_the_same_bits_as_memory_and_are_gone_afterwards(tmp_path):
    results = {}
    for limit_mb in (100, 0.05, 0):
        toy = Toy()
        folder = tmp_path / str(limit_mb)
        tuner = toy.tuner("block", folder, limit_mb, iterations=20)
        # Inputs, targets and float inputs, 6 x 16 x 8 x 12 numbers each.
        files = {100: 0, 0.05: 2, 0: 3}[limit_mb]
        assert (toy.memory.held, toy.memory.spilled) == ((3 - files) * 36864, files * 36864)
        tuner.tune_rounding(silent)
        results[limit_mb] = tuned_weights(toy, "block")
    for limit_mb in (0.05, 0):
        assert all(torch.equal(a, b) for a, b in zip(results[100], results[limit_mb]))
    # Not even a killed process leaves files.
    assert list((tmp_path / "0").iterdir()) == []


def test_the_same_seed_tunes_to_the_same_bits_and_another_does_not(tmp_path):
    results = []
    for seed in (3, 3, 4):
        toy = Toy()
        tuner = toy.tuner("block", tmp_path, iterations=20)
        tuner.seed = seed
        tuner.dropping.generator.manual_seed(seed)
        tuner.tune_rounding(silent)
        results.append(tuned_weights(toy, "block"))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1]))
    assert not all(torch.equal(a, b) for a, b in zip(results[0], results[2]))


def test_scales_alone_are_tuned_after_the_weights(tmp_path):
    toy = Toy()
    tuner = toy.tuner("block", tmp_path, keep_probability=None, scale_iterations=100, scale_rate=1e-2, batch_size=FRAMES)
    weights = [layer.weight.clone() for layer in toy.units["block"].layers.values()]
    before, scales = tuner.error(), [scale.detach().clone() for scale in tuner.scales]
    tuner.tune_scales(silent)
    assert tuner.error() < before
    assert not any(torch.equal(a, b) for a, b in zip(scales, tuner.scales))
    assert all(torch.equal(layer.weight, w) for layer, w in zip(toy.units["block"].layers.values(), weights))
    assert not any(scale.requires_grad for scale in tuner.scales)


def test_batches_go_through_all_frames_before_one_comes_again():
    batches = seeded_batches(frames=7, batch_size=3, iterations=14, seed=0)
    assert batches.shape == (14, 3)
    for epoch in batches.flatten().split(7):
        assert sorted(epoch.tolist()) == list(range(7))
    assert seeded_batches(2, 32, 4, 0).shape == (4, 2)


def test_the_importance_is_the_square_of_the_gradient_of_each_frames_own_loss(tmp_path):
    toy = Toy()
    unit, want = toy.units["block"], toy.float_run()
    toy.network.double()
    toy.images, want = toy.images.double(), {name: value.double() for name, value in want.items()}
    activations = [quantizer for other in toy.units.values() for quantizer in other.quantizers()]

    def loss(raw: dict, frame: slice = slice(None)) -> torch.Tensor:
        return sum(
            (raw[name].movedim(1, 0) if name in ("offset", "existence") else raw[name])[frame]
            .sub((want[name].movedim(1, 0) if name in ("offset", "existence") else want[name])[frame])
            .square()
            .mean()
            for name in want
        )

    def run(disturb=None):
        handle = unit.module.register_forward_hook(lambda module, args, out: out if disturb is None else out + disturb)
        try:
            with toy.network.running():
                return toy.network.network(toy.images)
        finally:
            handle.remove()

    # This unit is quantized, what comes later is in float, so that the loss is smooth.
    later = [q for name, other in toy.units.items() if name not in ("stem", "block") for q in other.quantizers()]
    assert len(later) < len(activations)
    with switched_off(later):
        runs, raw = record(unit, run, to_the_end=True)
        (squares,) = squared_gradients(loss(raw), runs[0][1], FRAMES)
        shape, step = squares.shape, 1e-5
        for place in [(0, 3, 2, 5), (2, 0, 0, 0), (5, 15, 7, 11), (4, 8, 3, 1)]:
            disturb = torch.zeros(shape, dtype=torch.float64)
            disturb[place] = step
            frame = slice(place[0], place[0] + 1)
            with torch.no_grad():
                slope = (loss(run(disturb), frame) - loss(run(-disturb), frame)) / (2 * step)
            assert squares[place].item() == pytest.approx(slope.item() ** 2, rel=1e-4, abs=1e-18)


def test_importance_has_a_mean_of_one_and_weighs_errors(tmp_path):
    toy = Toy()
    unit = toy.units["block"]
    memory = TensorMemory(tmp_path, 100, torch.device("cpu"))
    importance = Kept([call.outputs for call in unit.calls], False, FRAMES, memory)
    tuner = toy.tuner("block", tmp_path)
    target = tuner.data.targets.batch(0, torch.arange(FRAMES))[0]
    squares = torch.rand_like(target, generator=torch.Generator().manual_seed(0))
    importance.append([[squares]])
    normalise(importance)
    tuner.data.importance = importance
    with torch.no_grad(), toy.network.running():
        output = unit.module(tuner.data.inputs.batch(0, torch.arange(FRAMES))[0])
    want = ((output - target).square() * squares / squares.mean()).sum(1).mean()
    assert tuner.error() == pytest.approx(want.item(), rel=1e-4)
    empty = Kept([call.outputs for call in unit.calls], False, FRAMES, memory)
    empty.append([[torch.zeros_like(target)]])
    normalise(empty)
    assert (empty.calls[0][0].rows == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(units="stage"), "layer or block"),
        (dict(objective="kl"), "mse or fisher or lanes"),
        (dict(iterations=0), "iterations must be a whole number of at least 1"),
        (dict(batch_size=1.5), "batch_size must be a whole number"),
        (dict(draws=0), "draws must be a whole number of at least 1"),
        (dict(scale_iterations=-1), "scale_iterations must be a whole number of at least 0"),
        (dict(scale_rate=-1.0), "scale_rate must be a number of at least 0"),
        (dict(beta=[20]), "beta must be two numbers"),
        (dict(keep_probability=0.0), r"\(0, 1\]"),
        (dict(warm_up=1.0), "warm_up must be a number of at least 0 and less than 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ReconstructionSettings(**settings)
