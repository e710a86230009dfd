"""Which frames a run really reads, and what a preset adds to a float config."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT

from mmsf.engine import LaneInferencer
from mmsf.engine.building import require_known_keys
from mmsf.engine.config import PTQ_LINES, apply_options, read_config, require_backends, set_roots, with_preset
from mmsf.errors import UserError
from mmsf.registry import DATASETS

PRESETS = ROOT / "configs" / "_base_" / "ptq"
TUSIMPLE = ROOT / "configs" / "ptq" / "lstr_tusimple_w4a4_selective-focus.py"


@pytest.fixture
def tusimple(roads, tmp_path) -> Path:
    """A TuSimple folder of forty frames, copies of six pictures."""
    pictures = sorted((roads / "test").rglob("*.jpg"))
    (tmp_path / "tusimple" / "images").mkdir(parents=True)
    rows = list(range(240, 590, 10))
    lines = []
    for index in range(40):
        name = f"images/{index:04d}.jpg"
        shutil.copy(pictures[index % len(pictures)], tmp_path / "tusimple" / name)
        lines.append(json.dumps({"raw_file": name, "lanes": [[-2, *[300 + r for r in rows[1:]]]], "h_samples": rows}))
    (tmp_path / "tusimple" / "label_data.json").write_text("\n".join(lines) + "\n")
    return tmp_path / "tusimple"


def frames(dataset_config: dict) -> list[str]:
    dataset = DATASETS.build(dataset_config)
    return [Path(dataset[i]["data_samples"].img_path).name for i in range(len(dataset))]


@pytest.mark.parametrize("way", ["--data-root", "--cfg-options"])
def test_the_first_32_frames_and_the_other_folders_calibrate_and_the_rest_evaluates(way, tusimple, roads):
    cfg = read_config(TUSIMPLE)
    roots = [str(roads / "train"), str(roads / "test")]
    if way == "--data-root":
        set_roots(cfg, str(tusimple), roots)
    else:
        apply_options(cfg, dict(data_root=str(tusimple), calibration_root=roots))
    calibration, evaluation = frames(cfg.train_dataloader.dataset), frames(cfg.val_dataloader.dataset)
    assert calibration[:32] == [f"{i:04d}.jpg" for i in range(32)]
    assert len(calibration) == 32 + 10 + 6
    assert evaluation == frames(cfg.test_dataloader.dataset) == [f"{i:04d}.jpg" for i in range(32, 40)]
    assert not set(calibration[:32]) & set(evaluation)


def test_evaluation_frames_never_calibrate_even_when_their_folder_is_given(tusimple):
    cfg = read_config(TUSIMPLE)
    set_roots(cfg, str(tusimple), [str(tusimple / "images")])
    assert set(frames(cfg.train_dataloader.dataset)) == {f"{i:04d}.jpg" for i in range(32)}


@pytest.mark.parametrize("pairs", [["nonsense"], ["a=1", "b=", "5"], ["=3"], ["a=[1,2"]])
def test_options_that_are_no_pairs_are_refused_in_one_line(pairs, command):
    status, _, told = command("test", TUSIMPLE, "none.pth", "--cfg-options", *pairs)
    assert status == 2
    (line,) = told.strip().splitlines()
    assert line.startswith("error: --cfg-options")


def test_folders_below_the_old_root_are_found_below_the_new_one():
    cfg = Config(
        dict(
            data_root="data/roads",
            val_dataloader=dict(dataset=dict(data_root="data/roads/test")),
            train_dataloader=dict(dataset=dict(calibration_root=["data/roads/train", "elsewhere"])),
            test_dataloader=dict(dataset=dict(data_root="another")),
        )
    )
    set_roots(cfg, "new", None)
    assert cfg.val_dataloader.dataset.data_root == "new/test"
    assert cfg.train_dataloader.dataset.calibration_root == ["new/train", "elsewhere"]
    assert cfg.test_dataloader.dataset.data_root == "new"


def test_training_never_moves_to_the_frames_that_evaluate():
    cfg = read_config(ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py")
    set_roots(cfg, "data/synthetic/scored", None)
    assert cfg.val_dataloader.dataset.data_root == "data/synthetic/scored"
    assert cfg.train_dataloader.dataset.data_root == "data/synthetic/train"


def test_a_training_split_of_the_evaluated_data_set_moves_with_it():
    loaders = {f"{name}_dataloader": dict(dataset=dict(data_root="roads")) for name in ("train", "val")}
    cfg = Config(loaders)
    set_roots(cfg, "new", None)
    assert cfg.train_dataloader.dataset.data_root == cfg.val_dataloader.dataset.data_root == "new"


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "ptq").glob("*.py")), ids=lambda path: path.stem)
def test_every_ptq_config_is_its_bases_and_the_same_few_lines(path):
    text = path.read_text()
    assert text.split("\n\n", 1)[1] == PTQ_LINES
    cfg = read_config(path)
    require_known_keys(cfg)
    assert cfg.model.type == "mmsf.QuantWrapper"
    assert f"_{cfg.model.quantizer.bits}_" in path.name


def test_a_preset_on_a_float_config_gives_what_the_file_gives():
    built = with_preset(FLOAT_CONFIG, "selective-focus", "w4a4", PRESETS)
    stored = read_config(ROOT / "configs" / "ptq" / "lstr_tiny_synthetic_w4a4_selective-focus.py")
    assert built.to_dict() == stored.to_dict()


def test_a_preset_on_a_ptq_config_is_refused():
    with pytest.raises(UserError, match="already"):
        with_preset(TUSIMPLE, "selective-focus", "w4a4", PRESETS)


def test_an_option_that_does_not_fit_is_one_line():
    cfg = read_config(TUSIMPLE)
    with pytest.raises(UserError, match="--cfg-options"):
        apply_options(cfg, {"custom_hooks.7.interval": 3})


def test_tensorboard_is_asked_for_where_it_is_missing(monkeypatch):
    cfg = Config(dict(visualizer=dict(type="Visualizer", vis_backends=[dict(type="mmengine.TensorboardVisBackend")])))
    monkeypatch.setattr("mmsf.engine.config.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        require_backends(cfg)
    require_backends(Config(dict(visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]))))
    monkeypatch.setattr("mmsf.engine.config.find_spec", lambda name: "found")
    require_backends(cfg)


GRID, PART = ROOT / "configs" / "benchmark" / "table1_tiny.py", ROOT / "configs" / "_base_" / "models" / "lstr.py"


@pytest.mark.parametrize(
    ("tool", "config", "arguments", "lacks"),
    [
        ("infer", GRID, [CHECKPOINT, "images", "--out", "OUT"], "test_dataloader.dataset.pipeline"),
        ("infer", PART, [CHECKPOINT, "images", "--out", "OUT"], "test_dataloader.dataset.pipeline"),
        ("test", GRID, [CHECKPOINT, "--work-dir", "OUT"], "test_dataloader"),
        ("train", PART, ["--work-dir", "OUT"], "train_dataloader"),
        ("export", PART, [CHECKPOINT, "--backend", "onnxruntime", "--out", "OUT/a.onnx"], "test_dataloader.dataset"),
        ("choose_anchors", GRID, ["--count", "5", "--out", "OUT/a.txt"], "model.type"),
        ("choose_anchors", PART, ["--count", "5", "--out", "OUT/a.txt"], "train_dataloader.dataset"),
    ],
)
def test_what_a_config_lacks_is_named(tool, config, arguments, lacks, command, tmp_path):
    out = tmp_path / "out"
    status, _, errors = command(tool, config, *(str(argument).replace("OUT", str(out)) for argument in arguments))
    assert (status, errors.splitlines()[-1]) == (
        2,
        f"error: {config} lacks {lacks!r}; give the config of a detector, such as those of configs/lstr",
    )
    assert not out.exists()


@pytest.mark.parametrize("name", ["a.bin", "a", "a.ONNX"])
def test_a_file_that_could_not_be_told_from_weights_is_not_exported(name, command, tmp_path):
    out = tmp_path / "out" / name
    status, _, errors = command("export", FLOAT_CONFIG, "nowhere.pth", "--backend", "onnxruntime", "--out", out)
    assert (status, errors.splitlines()[-1]) == (
        2,
        f"error: --out {out} must end in .onnx: by it an exported file is told from weights",
    )
    assert not out.parent.exists()


def test_a_runtime_is_refused_for_weights_that_no_runtime_runs(command, tmp_path):
    given = (FLOAT_CONFIG, CHECKPOINT, "--runtime", "openvino", "--work-dir", tmp_path / "out")
    status, _, errors = command("test", *given)
    assert (status, errors.splitlines()[-1]) == (
        2,
        f"error: --runtime is for an exported file, which {CHECKPOINT} is not; leave it out",
    )
    assert not (tmp_path / "out").exists()


def test_a_config_without_a_model_takes_no_float_weights(tmp_path):
    path = tmp_path / "frames.py"
    path.write_text("test_dataloader = dict(dataset=dict(pipeline=[]))\n")
    with pytest.raises(UserError, match=r"frames\.py lacks 'model'"):
        LaneInferencer(path, CHECKPOINT)
