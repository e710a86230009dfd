"""`tools/ptq.py` from end to end, in processes of its own."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_engine.runs import CHECKPOINT, CONFIG, FLOAT_CONFIG, ROOT, arguments, run_tool

from mmsf.engine.quantized_file import read_quantized


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "quantized.pth", weights_only=True)["state_dict"]


def assert_same_bits(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.smoke
def test_a_run_leaves_what_it_promises(finished):
    promised = {"quantized.pth", "summary.json", "frames.json", "sensitivity.json", "report.html", "overlays"}
    assert promised <= {path.name for path in finished.iterdir()}
    assert len(list((finished / "overlays").iterdir())) == 2
    summary = read(finished, "summary.json")
    assert summary["frames"] == {"calibration": 10, "evaluation": 6}
    assert (summary["weight_bits"], summary["activation_bits"], summary["iterations"]) == (4, 4, 6)
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert (summary["batch_size"], summary["sample_passes"]) == (4, 24)
    assert all(bits == [4, 4] for bits in summary["bit_plan"].values())
    assert summary["float"]["CULane/F1"] > 0.7
    for stage in ("float", "calibrated", "quantized"):
        assert 0 <= summary[stage]["CULane/F1"] <= 1
    assert set(summary["heads"]) == {"range", "shape", "offset"}
    assert {"ranges", "float outputs", "curves", "tuning"} <= set(summary["seconds"])
    assert summary["iteration_cost_ratio"] > 0
    assert summary["peak_memory_mb"] > 0


def test_the_selection_is_re_ranked_at_the_interval(finished):
    sensitivity = read(finished, "sensitivity.json")
    history = sensitivity["history"]
    assert [entry["iteration"] for entry in history] == [0, 3, 6]
    assert sensitivity["iterations"] == read(finished, "summary.json")["iterations"]
    for entry in history:
        best = sorted(entry["scores"], key=lambda name: -entry["scores"][name])[:2]
        assert set(entry["selected"]) == set(best)
        assert entry["weights"] == {name: 1.0 if name in entry["selected"] else 0.25 for name in entry["weights"]}


def test_curves_rise(finished):
    for curve in read(finished, "sensitivity.json")["curves"].values():
        assert curve["loss"] == sorted(curve["loss"])
        assert curve["score"] == sorted(curve["score"])
        assert curve["score"][-1] > curve["score"][0]


def test_a_checkpoint_in_the_middle_of_tuning_knows_what_tuning_has_taken(finished):
    seconds = [torch.load(path)["ptq"]["seconds"].get("tuning", 0) for path in finished.glob("iter_*.pth")]
    assert seconds
    assert all(0 < own < read(finished, "summary.json")["seconds"]["tuning"] for own in seconds)


def test_tuning_lowers_the_selected_heads_loss(finished):
    log = next(finished.glob("*/vis_data/scalars.json")).read_text().splitlines()
    losses = [json.loads(line) for line in log if '"loss"' in line]
    assert len(losses) == 6
    assert {"loss_range", "loss_shape", "loss_offset", "loss_lane_confidence", "error_range"} <= set(losses[0])


def test_losses_scores_and_selection_reach_the_visualization_backends(finished):
    log = next(finished.glob("*/vis_data/scalars.json")).read_text().splitlines()
    last = [json.loads(line) for line in log if '"sensitivity/' in line][-1]
    entry = read(finished, "sensitivity.json")["history"][-1]
    for head in ("range", "shape", "offset"):
        assert last[f"sensitivity/mean_error_{head}"] == pytest.approx(entry["losses"][head])
        assert last[f"sensitivity/score_{head}"] == pytest.approx(entry["scores"][head])
        assert last[f"sensitivity/weight_{head}"] == entry["weights"][head]
        assert last[f"sensitivity/selected_{head}"] == (head in entry["selected"])
    f1 = {stage: [json.loads(line) for line in log if f'"{stage}/CULane/F1"' in line] for stage in ("float", "quantized")}
    assert [(own[f"{stage}/CULane/F1"], own["step"]) for stage, (own,) in f1.items()] == [
        (read(finished, "summary.json")["float"]["CULane/F1"], 0),
        (read(finished, "summary.json")["quantized"]["CULane/F1"], 6),
    ]


def test_damage_is_counted_before_and_after_tuning(finished):
    agreement = read(finished, "summary.json")["agreement"]
    for damage in (agreement["damage"], agreement["calibrated"]["damage"]):
        assert damage["float_lanes"] > 0
        assert damage["lost_lanes"] <= damage["float_lanes"]
        assert damage["bends"] + damage["spikes"] + damage["missing"] <= damage["float_points"]
        assert damage["bends"] + damage["spikes"] + damage["missing"] + damage["extra"] > 0
    assert "Damage to lanes" in (finished / "report.html").read_text()


@pytest.mark.smoke
@pytest.mark.parametrize("phase", ["ranges", "curves", "tuning", "evaluation", "results"])
def test_killed_and_resumed_ends_with_the_same_bits(phase, roads, finished, tmp_path):
    script = Path(__file__).with_name("killed_ptq.py")
    killed = subprocess.run([sys.executable, str(script), phase, *arguments(roads, tmp_path)], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "quantized.pth").exists() == (phase == "results")
    assert not (tmp_path / "report.html").exists()
    resumed = run_tool(roads, tmp_path, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(weights(tmp_path), weights(finished))
    for name in ("curves", "history"):
        assert read(tmp_path, "sensitivity.json")[name] == read(finished, "sensitivity.json")[name]
    assert read(tmp_path, "summary.json")["quantized"] == read(finished, "summary.json")["quantized"]
    assert read(tmp_path, "frames.json") == read(finished, "frames.json")


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(roads, finished, tmp_path):
    script = Path(__file__).with_name("killed_ptq.py")
    subprocess.run([sys.executable, str(script), "tuning", *arguments(roads, tmp_path)], cwd=ROOT, capture_output=True)
    newest = max(tmp_path.glob("*.pth"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = run_tool(roads, tmp_path, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{newest} cannot be read" in resumed.stdout + resumed.stderr
    assert_same_bits(weights(tmp_path), weights(finished))


def test_resuming_with_another_float_checkpoint_is_refused(roads, finished, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("ranges.pth", "curves.pth"):
        (tmp_path / "run" / name).write_bytes((finished / name).read_bytes())
    content = torch.load(CHECKPOINT, weights_only=True)
    next(iter(content["state_dict"].values())).add_(1e-3)
    torch.save(content, tmp_path / "other.pth")
    result = run_tool(roads, tmp_path / "run", "--resume", checkpoint=tmp_path / "other.pth")
    assert result.returncode == 2
    assert "not the float checkpoint this run started from" in result.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--cfg-options", "optim_wrapper.optimizer.lr=0.5"), "has optim_wrapper.optimizer.lr = 0.0002, this one 0.5"),
        (("--cfg-options", "custom_hooks.0.interval=4"), "has custom_hooks.SensitivityHook.interval = 3, this one 4"),
        (("--cfg-options", "train_dataloader.batch_size=5"), "has train_dataloader.batch_size = 4, this one 5"),
        (("--calibration-root", "OTHER"), "was calibrated with other frames"),
        (("--data-root", "OTHER"), "evaluated other frames"),
    ],
)
def test_resuming_with_what_would_mix_two_runs_is_refused(given, told, command, roads, finished, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "ranges.pth").write_bytes((finished / "ranges.pth").read_bytes())
    own = arguments(roads, tmp_path / "work", "--resume")
    if given[0] == "--cfg-options":
        own += given[1:]
    else:
        shutil.copytree(roads / "test", tmp_path / "other")
        for path in (*tmp_path.glob("other/**/*.jpg"), *tmp_path.glob("other/**/*.lines.txt")):
            path.rename(path.with_name(f"1{path.name}"))
        for path in tmp_path.glob("other/list/*.txt"):
            path.write_text("".join(re.sub(r"(\d+\.jpg)", r"1\1", line) for line in path.open()))
        own[own.index(given[0]) + 1] = str(tmp_path / "other")
    status, _, errors = command("ptq", *own)
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (status, told in line) == (2, True), line
    assert not (tmp_path / "work" / "summary.json").exists()


def test_a_run_is_resumed_with_its_data_in_another_place(roads, finished, tmp_path):
    script = Path(__file__).with_name("killed_ptq.py")
    given = arguments(roads, tmp_path / "work")
    subprocess.run([sys.executable, str(script), "evaluation", *given], cwd=ROOT, capture_output=True)
    (tmp_path / "moved").symlink_to(roads)
    resumed = run_tool(tmp_path / "moved", tmp_path / "work", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("frames.json", "sensitivity.json"):
        assert read(tmp_path / "work", name) == read(finished, name)
    assert read(tmp_path / "work", "summary.json")["agreement"] == read(finished, "summary.json")["agreement"]


def test_resuming_with_other_bits_is_refused(roads, finished, tmp_path):
    (tmp_path / "ranges.pth").write_bytes((finished / "ranges.pth").read_bytes())
    result = run_tool(roads, tmp_path, "--resume", config=CONFIG.with_name(CONFIG.name.replace("w4a4", "w8a8")))
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert 'has model.quantizer.bits = "w4a4", this one "w8a8"' in line


def test_quantized_weights_rebuild_themselves(finished):
    model = read_quantized(finished / "quantized.pth")
    assert_same_bits(dict(model.state_dict()), weights(finished))
    layer = model.quantized.network.get_submodule("backbone.conv1")
    levels = layer.quantized_weight()[0].unique()
    assert len(levels) <= 16


def test_a_preset_on_a_float_config_is_the_same_run(roads, finished, tmp_path):
    options = ("--preset", "selective-focus", "--bits", "w4a4")
    result = run_tool(roads, tmp_path, *options, config=FLOAT_CONFIG)
    assert result.returncode == 0, result.stderr
    assert_same_bits(weights(tmp_path), weights(finished))


def test_a_bit_plan_decides_the_bits(roads, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"class_embed": [8, 8], "backbone.layer1.*": "float"}))
    result = run_tool(roads, tmp_path / "run", "--bit-plan", str(plan))
    assert result.returncode == 0, result.stderr
    bits = read(tmp_path / "run", "summary.json")["bit_plan"]
    assert bits["class_embed"] == [8, 8]
    assert bits["backbone.layer1.0.conv1"] == ["float", "float"]
    assert bits["input_proj"] == [4, 4]


def test_the_quantized_file_evaluates_as_the_run_did(roads, finished):
    command = [
        sys.executable,
        "tools/test.py",
        str(FLOAT_CONFIG),
        str(finished / "quantized.pth"),
        "--data-root",
        str(roads / "test"),
    ]
    result = subprocess.run([*command, "--work-dir", str(finished / "again")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    want = read(finished, "summary.json")["quantized"]["CULane/F1"]
    assert f"CULane/F1: {want:.4f}" in result.stdout + result.stderr
