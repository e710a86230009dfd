"""A sensitivity analysis from a config to its report."""

import base64
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from originals import ROOT
from small_segmentation import INPUT_SIZE, SMALL, small
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG
from test_visualization.test_report import parse

from mmsf.datasets.synthetic import write_dataset
from mmsf.engine import AnalysisHook, ResultHook, SensitivityLoop
from mmsf.engine.analysis_hook import _foreground
from mmsf.engine.analyze import analyze_sensitivity
from mmsf.engine.ptq import quantize
from mmsf.errors import UserError

CONFIG = ROOT / "configs" / "ptq" / "scnn_r18_culane_w4a4_selective-focus.py"
HEADS = ("location",)
EARLIER = ("bit_plan.json", "figures/foreground_00_another_location.png")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory) -> tuple[Path, object]:
    """Work directory and loop of an analysis of a small SCNN."""
    folder = tmp_path_factory.mktemp("analysis")
    write_dataset(folder / "train", frames=4, seed=1)
    write_dataset(folder / "test", frames=3, seed=2)
    torch.save({"state_dict": small("scnn").state_dict()}, folder / "float.pth")
    (folder / "run" / "figures").mkdir(parents=True)
    for name in EARLIER:
        (folder / "run" / name).write_text("of an earlier analysis")
    loaders = ("train_dataloader", "val_dataloader")
    runner = analyze_sensitivity(
        CONFIG,
        checkpoint=str(folder / "float.pth"),
        data_root=str(folder / "test"),
        calibration_root=[str(folder / "train")],
        work_dir=str(folder / "run"),
        options={
            **{f"model.detector.{key}": value for key, value in SMALL.items()},
            "model.input_size": INPUT_SIZE,
            **{f"{loader}.dataset.pipeline.0.scale": INPUT_SIZE[::-1] for loader in loaders},
            **{f"{loader}.num_workers": 0 for loader in loaders},
            **{f"{loader}.batch_size": 2 for loader in loaders},
            "val_dataloader.persistent_workers": False,
            "train_cfg.curves": dict(levels=3, frames=2, draws=1),
            "train_cfg.layer_frames": 2,
            "train_cfg.foreground_frames": 1,
            "train_cfg.draws": 1,
            "custom_hooks.0.overlays": 2,
        },
    )
    return folder / "run", runner.train_loop


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_it_leaves_data_figures_and_a_report_and_no_model(analysis):
    folder, _ = analysis
    assert {"sensitivity.json", "summary.json", "report.html"} <= {path.name for path in folder.iterdir()}
    figures = {path.name.split("_")[0].removesuffix(".png") for path in (folder / "figures").iterdir()}
    assert figures == {"curves", "foreground", "layers"}
    assert len(list((folder / "overlays").iterdir())) == 2
    assert not list(folder.rglob("quantized.pth"))


def test_nothing_of_an_earlier_analysis_in_the_folder_is_left(analysis):
    folder, loop = analysis
    assert not (folder / EARLIER[1]).exists()
    plan = folder / EARLIER[0]
    assert set(read(folder, plan.name)) == set(loop.plan["layers"]) if loop.plan else not plan.exists()


def test_curves_are_measured_as_the_config_says(analysis):
    for curve in read(analysis[0], "sensitivity.json")["curves"].values():
        assert len(curve["loss"]) == 3


def test_layers_are_ranked_from_the_highest_score_down(analysis):
    folder, loop = analysis
    sensitivity = read(folder, "sensitivity.json")
    scores = [own["4/4"] for own in sensitivity["layers"].values()]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0
    assert set(sensitivity["layers"]) == set(loop.model.quantized.bits)
    assert sum(sensitivity["layer_shares"].values()) == pytest.approx(1.0)


def test_algorithm_1_of_all_heads_and_confidences_together_is_the_calibrated_model(analysis):
    folder, loop = analysis
    sensitivity = read(folder, "sensitivity.json")
    assert set(sensitivity["algorithm1"]) == set(sensitivity["curves"]) == set(HEADS)
    assert set(sensitivity["confidences"]) == {"existence", "foreground"}
    # Decoding does not read the foreground; location and existence are all there is.
    assert sensitivity["confidences"]["foreground"] == 0.0
    assert sensitivity["all_heads"] > 0
    assert sensitivity["present"]["losses"] == loop.errors["before"]


def test_the_plan_that_was_tried_is_one_that_a_run_takes_and_leaves_the_bits_as_they_were(analysis):
    folder, loop = analysis
    plan = read(folder, "sensitivity.json")["more_bits"]
    assert plan["layers"]
    assert plan["mac_share"] <= 0.25
    assert plan["score"] == loop.all_heads
    assert read(folder, "bit_plan.json") == {layer: [8, 8] for layer in plan["layers"]}
    assert {tuple(bits.as_list()) for bits in loop.model.quantized.bits.values()} == {(4, 4)}
    again = loop.model.adapter.split(super(type(loop), loop).quantized_outputs())
    calibrated = loop.float_and_calibrated()[1]
    assert torch.equal(again.semantics["location"], calibrated.semantics["location"])


def test_the_foreground_map_has_the_heads_error_as_noise(analysis):
    folder, loop = analysis
    (place,) = read(folder, "sensitivity.json")["foreground"]
    target, output = loop.float_and_calibrated()
    error = output.semantics["location"] - target.semantics["location"]
    assert place["noise"] == pytest.approx(error.square().mean((0, 2, 3)).sqrt().tolist(), rel=1e-5)
    assert place["places"] == list(error.shape[2:])
    assert max(map(max, place["scores"])) > 0


def test_frames_of_one_name_have_maps_of_their_own(analysis, tmp_path):
    _, loop = analysis
    for number in range(2):
        _foreground(tmp_path, number, loop.foreground[0])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("stem", ["f" * 241, os.fsdecode(b"x\xff")])
def test_a_frame_may_have_any_name_that_a_file_may_have(stem, analysis, tmp_path):
    _, loop = analysis
    path = tmp_path / f"{stem}.jpg"
    path.write_bytes(Path(loop.foreground[0].path).read_bytes())
    place = replace(loop.foreground[0], path=str(path), name=path.name, head="cls/points")
    _, drawn = _foreground(tmp_path / "figures", 0, place)
    assert list((tmp_path / "figures").glob("foreground_*.png")) == [drawn]


def test_frames_without_a_file_have_no_map(analysis, monkeypatch):
    _, loop = analysis
    metas = [{key: value for key, value in meta.items() if key != "img_path"} for meta in loop.metas]
    monkeypatch.setattr(type(loop), "metas", metas)
    monkeypatch.setattr(loop, "foreground", [])
    loop.map_foreground()
    assert loop.foreground == []


def test_damage_is_counted_against_the_float_lanes(analysis):
    folder, loop = analysis
    damage = read(folder, "summary.json")["agreement"]["calibrated"]["damage"]
    assert damage["float_lanes"] == sum(len(frame["lines"]) for frame in loop.lanes["float"].values())
    assert damage["bends"] + damage["spikes"] + damage["missing"] <= damage["float_points"]
    assert sum(damage[kind] for kind in ("bends", "spikes", "missing", "extra")) > 0


def test_the_report_carries_every_picture_and_refers_to_nothing_outside(analysis):
    folder, _ = analysis
    page = parse(folder / "report.html")
    inside = {f"#{identifier}" for identifier in page.identifiers}
    pictures = [reference for reference in page.references if reference not in inside]
    assert all(picture.startswith("data:image/") for picture in pictures)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in (folder / "report.html").read_text()
    embedded = {base64.b64decode(picture.split(",")[1]) for picture in pictures}
    files = [*(folder / "figures").glob("foreground*"), *(folder / "overlays").iterdir()]
    assert embedded == {path.read_bytes() for path in files}


def test_the_report_says_what_to_do_next_and_shows_no_model_that_was_not_made(analysis):
    words = " ".join(parse(analysis[0] / "report.html").text)
    assert "What to do next" in words
    assert "Layers, ranked" in words
    assert "quantized − float" not in words


def test_a_config_that_is_not_there_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "tools/analyze_sensitivity.py", str(tmp_path / "no.py"), "--work-dir", str(tmp_path / "run")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "no.py does not exist" in line
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(checkpoint="gone.pth"), r"gone\.pth"),
        (dict(bits="w4a4"), "--preset and --bits"),
    ],
)
def test_what_the_user_can_mend_is_said(arguments, words, tmp_path):
    with pytest.raises(UserError, match=words):
        analyze_sensitivity(CONFIG, work_dir=str(tmp_path / "run"), **arguments)


@pytest.mark.parametrize(
    "setting",
    [dict(layer_frames=0), dict(layer_frames=2.5), dict(foreground_frames=-1), dict(draws=1.5), dict(more_bits=0.0)],
)
def test_impossible_settings_are_refused(setting):
    (name,) = setting
    with pytest.raises(UserError, match=f"SensitivityLoop: {name} must be"):
        SensitivityLoop(None, {}, {}, {}, **setting)


@pytest.mark.parametrize("hook", [AnalysisHook, partial(ResultHook, "omse", "omse")])
@pytest.mark.parametrize("overlays", [-1, 2.5])
def test_overlays_are_a_whole_number(hook, overlays):
    with pytest.raises(UserError, match="overlays must be a whole number of at least 0"):
        hook(overlays=overlays)


def test_a_float_config_is_sent_to_the_presets(tmp_path):
    with pytest.raises(UserError, match="--preset"):
        analyze_sensitivity(ROOT / "configs" / "scnn" / "scnn_r18_culane.py", work_dir=str(tmp_path))


@pytest.mark.parametrize("preset", ["best-mixed", "aciq"])
def test_the_analysed_model_is_the_one_that_a_run_begins_with(preset, roads, tmp_path):
    """Equalised, and with the bits of the preset's plan; or with corrected weights."""
    arguments = dict(
        preset=preset,
        bits="w4a4",
        presets=ROOT / "configs" / "_base_" / "ptq",
        checkpoint=str(CHECKPOINT),
        data_root=str(roads / "test"),
        calibration_root=[str(roads / "train")],
    )
    options = {"train_cfg.curves": dict(levels=3, frames=2, draws=1)}
    mixed = preset == "best-mixed"
    if mixed:
        options["train_cfg.bit_planner.frames"] = 2
    brief = {"train_cfg.layer_frames": 1, "train_cfg.foreground_frames": 0, "custom_hooks.0.overlays": 1}
    analysed = analyze_sensitivity(
        FLOAT_CONFIG, work_dir=str(tmp_path / "a"), options=options | brief, **arguments
    ).train_loop
    short = {"train_cfg.max_iters": 1, "train_cfg.tuning_frames": 0} if mixed else {}
    begun = quantize(FLOAT_CONFIG, work_dir=str(tmp_path / "b"), options=options | short, **arguments).train_loop
    assert analysed.model.quantized.bits == begun.model.quantized.bits
    assert len(set(analysed.model.quantized.bits.values())) == 1 + mixed
    assert analysed.stages["calibrated"] == begun.stages["calibrated"]
    lanes = [{name: frame["lines"] for name, frame in loop.lanes["calibrated"].items()} for loop in (analysed, begun)]
    assert str(lanes[0]) == str(lanes[1])
    # A plan was tried on it, and taken back.
    assert analysed.plan["layers"]
    after, before = analysed.model.quantized.state_dict(), begun.model.quantized.state_dict()
    if not mixed:
        assert [name for name in before if not torch.equal(before[name], after[name])] == []
