"""AdaRound, BRECQ and QDrop from a config to their results."""

import json
import re
from pathlib import Path

import pytest
import small_condlane
import small_segmentation
import torch
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT

from mmsf import safe_globals
from mmsf.datasets.synthetic import write_dataset
from mmsf.engine import BlockwiseLoop
from mmsf.engine.config import preset_files, read_config, with_preset
from mmsf.engine.ptq import quantize
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError
from mmsf.registry import MODELS

PRESETS = ROOT / "configs" / "_base_" / "ptq"
METHODS = ("adaround", "brecq", "qdrop")
CONFIGS = {
    "condlane": ROOT / "configs" / "condlanenet" / "condlanenet_small_culane.py",
    "scnn": ROOT / "configs" / "scnn" / "scnn_r18_culane.py",
}
NO_EVALUATION = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
FISHER = dict(train_cfg__reconstruction__objective="fisher")
LANES = dict(train_cfg__reconstruction__objective="lanes", train_cfg__reconstruction__draws=2)
EQUALISED = dict(train_cfg__equalisation=True)
SMALL = {"condlane": small_condlane.SMALL, "scnn": small_segmentation.SMALL}
SIZE = {"condlane": small_condlane.INPUT_SIZE, "scnn": small_segmentation.INPUT_SIZE}


@pytest.fixture(scope="module")
def few_roads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few_roads")
    write_dataset(folder / "train", frames=5, seed=1)
    write_dataset(folder / "test", frames=2, seed=2)
    torch.save({"state_dict": small_condlane.small().state_dict()}, folder / "condlane.pth")
    torch.save({"state_dict": small_segmentation.small("scnn").state_dict()}, folder / "scnn.pth")
    return folder


def run(family: str, method: str, few_roads: Path, work_dir: Path, resume: bool = False, **further):
    options = {f"model.detector.{key}": value for key, value in SMALL[family].items()}
    for loader in ("train_dataloader", "val_dataloader"):
        options[f"{loader}.dataset.pipeline.0.scale"] = SIZE[family][::-1]
        options |= {f"{loader}.batch_size": 2, f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    options |= {
        "model.input_size": SIZE[family],
        "train_cfg.reconstruction.iterations": 4,
        "train_cfg.reconstruction.batch_size": 3,
        "train_cfg.curves": dict(levels=3, span=(0.1, 10.0), frames=2, draws=1),
        "optim_wrapper.optimizer.lr": 1e-2,
        "custom_hooks.0.overlays": 1,
        "env_cfg.mp_cfg.opencv_num_threads": 1,
    }
    if method == "brecq":
        options["train_cfg.reconstruction.scale_iterations"] = 2
    return quantize(
        CONFIGS[family],
        preset=method,
        bits="w4a4",
        presets=PRESETS,
        checkpoint=str(few_roads / f"{family}.pth"),
        data_root=str(few_roads / "test"),
        calibration_root=[str(few_roads / "train")],
        work_dir=str(work_dir),
        resume=resume,
        options=options | {key.replace("__", "."): value for key, value in further.items()},
    )


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "quantized.pth", weights_only=True)["state_dict"]


def assert_same_bits(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("family", "method", "further"),
    [
        ("scnn", "adaround", {}),
        ("scnn", "qdrop", LANES),
        ("condlane", "brecq", FISHER),
        ("condlane", "qdrop", {}),
        ("condlane", "adaround", dict(train_cfg__reconstruction__keep_probability=0.5)),
    ],
)
def test_a_run_ends_with_all_its_results(family, method, further, few_roads, tmp_path):
    runner = run(family, method, few_roads, tmp_path, **further)
    assert {"quantized.pth", "summary.json", "sensitivity.json", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    assert not list(tmp_path.glob(".kept*"))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["method"] == method
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert {"ranges", "float outputs", "tuning"} <= set(summary["seconds"])
    loop: BlockwiseLoop = runner.train_loop
    assert summary["iterations"] == loop.iter == loop.max_iters > 4 * 10
    rounded = loop.unit_errors["rounding"]
    assert {name for unit in loop.units if unit.name in rounded for name in unit.layers} == {
        name for name, _ in loop.model.quantized.layer_quantizers()
    }
    assert bool(loop.unit_errors["scales"]) == (method == "brecq")
    if method != "brecq":  # one stage of 4 iterations of 3 frames, over every layer but no product of activations
        macs = loop.model.quantized.multiply_accumulates
        layers = sum(macs[name] for name, _ in loop.model.quantized.layer_quantizers()) / sum(macs.values())
        assert summary["sample_passes"] == pytest.approx(4 * 3 * layers)
    written = read_quantized(tmp_path / "quantized.pth")
    for name, quantizer, weight in written.quantized.quantized_weights():
        assert torch.equal(quantizer(weight), weight), name
    images = torch.rand(2, 3, *SIZE[family])
    with torch.no_grad():
        for name, value in written(images).items():
            assert torch.equal(value, loop.model(images)[name])


@pytest.fixture(scope="module")
def whole(few_roads, tmp_path_factory) -> dict[str, Path]:
    """Work directories of uninterrupted runs."""
    folders = {method: tmp_path_factory.mktemp(method) for method in ("brecq", "qdrop")}
    for method, folder in folders.items():
        run("condlane", method, few_roads, folder, **FISHER, **NO_EVALUATION)
    return folders


@pytest.mark.parametrize(
    ("method", "stage", "unit"), [("qdrop", "rounding", 3), ("brecq", "rounding", 4), ("brecq", "scales", 2)]
)
def test_stopped_and_resumed_ends_with_the_same_bits(method, stage, unit, whole, few_roads, tmp_path, monkeypatch):
    original, begun = BlockwiseLoop._tune_unit, []

    def stopped(loop, now, *args):
        begun.append(now)
        if begun.count(stage) == unit:
            raise KeyboardInterrupt
        original(loop, now, *args)

    monkeypatch.setattr(BlockwiseLoop, "_tune_unit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("condlane", method, few_roads, tmp_path, **FISHER, **NO_EVALUATION)
    monkeypatch.undo()
    runner = run("condlane", method, few_roads, tmp_path, resume=True, **FISHER, **NO_EVALUATION)
    assert_same_bits(state(tmp_path), state(whole[method]))
    assert runner.train_loop.iter == runner.train_loop.max_iters


def test_an_equalised_run_that_is_stopped_and_resumed_ends_with_the_same_bits(few_roads, tmp_path, monkeypatch):
    further = {**EQUALISED, **LANES, **NO_EVALUATION}
    runner = run("scnn", "qdrop", few_roads, tmp_path / "whole", **further)
    whole = runner.train_loop
    plain = dict(MODELS.build(runner.cfg.model).quantized.layer_quantizers())
    assert any(not torch.equal(weight, plain[name].weight) for name, weight in whole.float_weights.items())
    # The targets of the units are those of the float model.
    images = torch.rand(2, 3, *SIZE["scnn"])
    with torch.no_grad(), whole.model.quantized.in_float(whole.float_weights):
        for name, value in whole.model.quantized_raw(images).items():
            want = whole.model.float_raw(images)[name]
            torch.testing.assert_close(value, want, rtol=1e-3, atol=1e-4 * want.abs().max().item())
    original = BlockwiseLoop._tune_unit

    def stopped(loop, stage, number, progress):
        if number == 5:
            raise KeyboardInterrupt
        original(loop, stage, number, progress)

    monkeypatch.setattr(BlockwiseLoop, "_tune_unit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("scnn", "qdrop", few_roads, tmp_path / "stopped", **further)
    monkeypatch.undo()
    run("scnn", "qdrop", few_roads, tmp_path / "stopped", resume=True, **further)
    assert_same_bits(state(tmp_path / "stopped"), state(tmp_path / "whole"))


def test_progress_counts_units_by_their_arithmetic(few_roads, tmp_path):
    loop = run("scnn", "qdrop", few_roads, tmp_path, **NO_EVALUATION).train_loop
    log = next(tmp_path.glob("*/*.log")).read_text()
    shares = [int(text) for text in re.findall(r"error .* before, .* after; tuning (\d+)%", log)]
    macs = loop.model.quantized.multiply_accumulates
    first = sum(macs[name] for name in loop.units[0].layers) / sum(macs.values())
    assert len(shares) == len(loop.units)
    assert shares == sorted(shares)
    assert shares[-1] == 100
    # A tenth of all work is what every iteration costs beside its arithmetic.
    assert shares[0] == round(100 * (first + 0.1 / len(loop.units)) / 1.1)


def test_activations_in_files_give_the_same_bits(few_roads, tmp_path):
    for memory_mb in (4096, 0):
        run("scnn", "qdrop", few_roads, tmp_path / str(memory_mb), train_cfg__memory_mb=memory_mb, **NO_EVALUATION)
    assert_same_bits(state(tmp_path / "0"), state(tmp_path / "4096"))


def test_the_importance_of_a_frame_does_not_depend_on_its_batch(few_roads, tmp_path):
    few = dict(train_cfg__reconstruction__iterations=1)
    loop = run("scnn", "qdrop", few_roads, tmp_path, **few, **FISHER, **NO_EVALUATION).train_loop
    number = next(i for i, unit in enumerate(loop.units) if unit.name == "backbone.layer3.0")
    rows = []
    for loop.frames.batch_size in (2, 5):
        loop._replays = loop._new_replays()
        rows.append(loop._data("rounding", number, torch.Generator()).importance.calls[0][0].rows)
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-3, atol=1e-5)
    assert rows[0].mean().item() == pytest.approx(1.0, rel=1e-4)
    assert rows[0].std() > 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_preset_at_all_bits_with_the_authors_iterations(method):
    for bits in ("w8a8", "w8a4", "w4a4"):
        assert f"{method}_{bits}" in preset_files(PRESETS)
        cfg = with_preset(FLOAT_CONFIG, method, bits, PRESETS)
        reference = read_config(PRESETS / f"selective-focus_{bits}.py")
        assert cfg.model.quantizer.bits == bits
        # Same quantizers, ranges and measure of the heads as Selective Focus.
        for key in ("scheme", "profile"):
            assert cfg.model.quantizer[key] == reference.ptq_model.quantizer[key]
        assert cfg.model.loss == reference.ptq_model.loss
        for key in ("weight_range", "activation_range", "curves"):
            assert cfg.train_cfg[key] == reference.ptq_train_cfg[key]
        settings = cfg.train_cfg.reconstruction
        assert (settings.iterations, settings.batch_size) == (20000, 32)
        assert settings.units == ("layer" if method == "adaround" else "block")
        assert settings.get("keep_probability") == (0.5 if method == "qdrop" else None)
        assert cfg.optim_wrapper.optimizer.lr == 1e-3


def test_wrong_settings_are_one_line(few_roads, tmp_path):
    with pytest.raises(UserError, match=r"reconstruction: .*'iteration'"):
        run("scnn", "qdrop", few_roads, tmp_path, train_cfg__reconstruction__iteration=3)


@pytest.mark.parametrize("hook", ["BestMomentHook", "SensitivityHook"])
def test_hooks_that_cannot_act_on_units_are_refused(hook, few_roads, tmp_path):
    with pytest.raises(UserError, match=f"{hook} cannot act"):
        run("scnn", "qdrop", few_roads, tmp_path, custom_hooks=[dict(type=f"mmsf.{hook}")])


def test_qdrop_brings_lstr_at_four_bits_nearer_to_its_float_model_than_ranges_do(tmp_path):
    write_dataset(tmp_path / "train", frames=16, seed=1)
    runner = quantize(
        FLOAT_CONFIG,
        preset="qdrop",
        bits="w4a4",
        presets=PRESETS,
        checkpoint=str(CHECKPOINT),
        calibration_root=[str(tmp_path / "train")],
        work_dir=str(tmp_path / "run"),
        options={
            "train_cfg.reconstruction.iterations": 50,
            "train_cfg.reconstruction.batch_size": 4,
            # The authors' factor is for 400 times as many iterations.
            "train_cfg.reconstruction.rounding_weight": 1e-4,
            "train_cfg.curves": dict(levels=2, frames=2, draws=1),
            "optim_wrapper.optimizer.lr": 1e-2,
            "train_dataloader.dataset.exclude": [],
            **dict.fromkeys(("val_cfg", "val_dataloader", "val_evaluator")),
            **dict.fromkeys(("test_cfg", "test_dataloader", "test_evaluator")),
        },
    )
    loop, rounding = runner.train_loop, runner.train_loop.unit_errors["rounding"]
    assert sum(after < before for before, after in rounding.values()) >= len(rounding) - 2

    def errors() -> dict[str, float]:
        return {n: (v - loop.model.kept_outputs[n]).square().mean().item() for n, v in loop.quantized_outputs().items()}

    tuned = errors()
    safe_globals.allow()
    loop.model.load_state_dict(torch.load(tmp_path / "run" / "ranges.pth", weights_only=True)["state_dict"])
    calibrated = errors()
    assert tuned["logits"] < 0.6 * calibrated["logits"]
    assert tuned["curves"] < 0.85 * calibrated["curves"]
