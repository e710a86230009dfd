"""LSQ+, quantization-aware training with labels, from `tools/train.py` to its results."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small_condlane
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from test_engine.runs import FLOAT_CONFIG, ROOT

from mmsf import safe_globals
from mmsf.engine import QuantWrapper
from mmsf.engine.config import apply_options, set_roots, with_preset
from mmsf.engine.labelled import LabelledFrames
from mmsf.engine.ptq import quantize
from mmsf.engine.qat_loop import share_of_schedule
from mmsf.engine.quantized_file import read_quantized
from mmsf.errors import UserError
from mmsf.quantization import MinMaxRange
from mmsf.registry import MODELS

PRESETS = ROOT / "configs" / "_base_" / "ptq"
TRAIN, PTQ = ROOT / "tools" / "train.py", ROOT / "tools" / "ptq.py"
KILLED = Path(__file__).with_name("killed_ptq.py")
ITERATIONS, BATCH = 6, 3
FAMILIES = ("lstr", "bezierlanenet", "laneatt", "scnn", "resa", "condlanenet", "ganet")


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> tuple[Path, Path]:
    """Float config, with augmentation, and weights of a small CondLaneNet."""
    folder = tmp_path_factory.mktemp("small_condlane")
    cfg = small_condlane.float_config()
    options = {f"model.{key}": value for key, value in small_condlane.SMALL.items()}
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader", "calibration_dataloader"):
        options[f"{loader}.dataset.pipeline.0.scale"] = small_condlane.INPUT_SIZE[::-1]
        options |= {f"{loader}.batch_size": BATCH, f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    cfg.merge_from_dict(options | {"input_size": small_condlane.INPUT_SIZE})
    # Another process loads: chance of the losses is drawn in this one, that of the frames there.
    cfg.train_dataloader.num_workers = 1
    assert {"RandomAffine", "PhotometricJitter"} <= {step.type for step in cfg.train_dataloader.dataset.pipeline}
    cfg.dump(folder / "small.py")
    torch.save({"state_dict": small_condlane.small().state_dict()}, folder / "small.pth")
    return folder / "small.py", folder / "small.pth"


def arguments(detector: tuple[Path, Path], roads: Path, work_dir: Path, *more: str, weights: bool = True) -> list[str]:
    """The command line after the tool."""
    config, checkpoint = map(str, detector)
    return [
        *(config, "--preset", "lsq-plus", "--bits", "w4a4", "--work-dir", str(work_dir)),
        *(("--checkpoint", checkpoint) if weights else ()),
        *("--data-root", str(roads / "test"), "--calibration-root", str(roads / "train")),
        *more,
        "--cfg-options",
        f"train_cfg.max_iters={ITERATIONS}",
        f"train_cfg.labelled_dataloader.dataset.data_root={roads / 'train'}",
        "train_dataloader.dataset.datasets=[]",
        "default_hooks.checkpoint.interval=2",
        "default_hooks.logger.interval=1",
        "custom_hooks.0.overlays=1",
        "env_cfg.mp_cfg.opencv_num_threads=1",
    ]


def run_tool(tool: Path, *given: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(tool), *given], cwd=ROOT, capture_output=True, text=True, timeout=600)


def state(folder: Path, name: str = "quantized.pth") -> dict[str, torch.Tensor]:
    safe_globals.allow()
    return torch.load(folder / name, weights_only=True)["state_dict"]


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def trained(detector, roads, tmp_path_factory) -> Path:
    """Work directory of an uninterrupted run of `tools/train.py`."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_tool(TRAIN, *arguments(detector, roads, folder))
    assert result.returncode == 0, result.stderr
    return folder


def test_a_run_leaves_what_tools_ptq_leaves_and_counts_its_training(trained):
    promised = {"quantized.pth", "summary.json", "frames.json", "sensitivity.json", "report.html", "overlays"}
    assert promised <= {path.name for path in trained.iterdir()}
    summary = read(trained, "summary.json")
    assert (summary["method"], summary["preset"]) == ("lsq-plus", "lsq-plus")
    assert summary["frames"] == {"calibration": 10, "evaluation": 6, "labelled": 10}
    assert summary["mac_share"] == {"4/4": pytest.approx(1.0)}
    assert (summary["iterations"], summary["batch_size"], summary["sample_passes"]) == (ITERATIONS, BATCH, 18)
    assert summary["seconds"]["tuning"] > 0
    assert not {"float outputs", "curves"} & set(summary["seconds"])
    assert summary["iteration_cost_ratio"] > 0
    for stage in ("float", "calibrated", "quantized"):
        assert 0 <= summary[stage]["CULane/F1"] <= 1
    assert "10 labelled frames" in (trained / "report.html").read_text()


def test_weights_scales_and_offsets_are_trained_and_the_file_holds_them_as_they_act(trained):
    calibrated, ended = state(trained, "ranges.pth"), state(trained)
    assert list(calibrated) == list(ended)
    ends = ("layer.weight", "weight_quantizer.scale", "input_quantizer.scale")
    for end in ends:
        names = [name for name in ended if name.endswith(end)]
        moved = [name for name in names if not torch.equal(calibrated[name], ended[name])]
        assert len(moved) > 0.8 * len(names), end
    raw = state(trained, f"iter_{ITERATIONS}.pth")  # before zero points are settled
    offsets = [name for name in ended if name.endswith("input_quantizer.zero_point")]
    assert sum(not torch.equal(raw[name], calibrated[name]) for name in offsets) > len(offsets) / 2
    for name in offsets:
        assert ended[name] == raw[name].round().clamp(0, 15)
    model = read_quantized(trained / "quantized.pth")
    for name, quantizer in model.quantized.activation_quantizers():
        low, high = quantizer.grid_limits()
        assert (low, high) == (-quantizer.zero_point, 15 - quantizer.zero_point), name


def test_killed_and_resumed_ends_with_the_same_bits_with_either_tool(detector, roads, trained, tmp_path):
    given = arguments(detector, roads, tmp_path)
    killed = subprocess.run([sys.executable, str(KILLED), "tuning", *given], cwd=ROOT, capture_output=True, timeout=600)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "iter_2.pth").is_file()
    # The seed is the stopped run's, whatever the resumed one is given.
    resumed = run_tool(TRAIN, *arguments(detector, roads, tmp_path, "--resume"), "randomness.seed=9")
    assert resumed.returncode == 0, resumed.stderr
    assert f"Iter(train) [3/{ITERATIONS}]" in resumed.stdout
    assert "Iter(train) [2/" not in resumed.stdout
    want, got = state(trained), state(tmp_path)
    assert [name for name in want if not torch.equal(want[name], got[name])] == []
    for name in ("quantized", "sample_passes"):
        assert read(tmp_path, "summary.json")[name] == read(trained, "summary.json")[name]
    assert read(tmp_path, "frames.json") == read(trained, "frames.json")


def assert_refused(result: subprocess.CompletedProcess, work_dir: Path, *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    assert all(word in line for word in words), line
    assert not list(work_dir.glob("*.pth"))


def test_training_needs_the_float_weights(detector, roads, tmp_path):
    result = run_tool(TRAIN, *arguments(detector, roads, tmp_path / "run", weights=False))
    assert_refused(result, tmp_path / "run", "--checkpoint")


def test_training_needs_labels(detector, roads, tmp_path):
    shutil.copytree(roads / "train", tmp_path / "train")
    shutil.copytree(roads / "test", tmp_path / "test")
    for path in (tmp_path / "train").rglob("*.lines.txt"):
        path.unlink()
    result = run_tool(TRAIN, *arguments(detector, tmp_path, tmp_path / "run"))
    assert_refused(result, tmp_path / "run", "labels", str(tmp_path / "train"))


def test_float_weights_alone_do_not_start_a_float_training(detector, tmp_path):
    config, checkpoint = map(str, detector)
    result = run_tool(TRAIN, config, "--checkpoint", checkpoint, "--work-dir", str(tmp_path))
    assert_refused(result, tmp_path, "--preset")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"train_cfg.labelled_dataloader.dataset.list_file": "list/none.txt"}, "list/none.txt"),
        ({"train_cfg.labelled_dataloader.dataset.labelled": False}, "without labels"),
        ({"train_cfg.labelled_dataloader.dataset.data_root": "{test}"}, "6 frames would train and evaluate"),
        ({"train_cfg.max_iters": 0}, "at least 1"),
        ({"train_cfg.schedule_share": 0.0}, "positive"),
        ({"train_cfg.labelled_dataloader": None}, "labelled_dataloader"),
        ({"model.loss": {"type": "SelectiveFocusLoss", "_delete_": True}}, "model.loss=None"),
        ({"model.detector.loss": None}, "no loss"),
        ({"model.quantizer.learn_activation_scale": False}, "learn_activation_scale"),
    ],
)
def test_what_cannot_train_is_refused(option, words, detector, roads, tmp_path):
    given = {
        "train_cfg.labelled_dataloader.dataset.data_root": str(roads / "train"),
        "train_dataloader.dataset.datasets": [],
        "train_dataloader.dataset.count": 2,
    }
    given |= {key: value.format(test=roads / "test") if isinstance(value, str) else value for key, value in option.items()}
    with pytest.raises(UserError, match=words):
        quantize(
            detector[0],
            preset="lsq-plus",
            bits="w4a4",
            presets=PRESETS,
            checkpoint=str(detector[1]),
            data_root=str(roads / "test"),
            calibration_root=[str(roads / "train")],
            work_dir=str(tmp_path),
            options=given,
        )
    assert not (tmp_path / "quantized.pth").exists()


def test_a_share_of_the_float_schedule_in_iterations_and_in_epochs():
    assert share_of_schedule(dict(max_iters=2500), 0.08, 7) == 200
    assert share_of_schedule(dict(max_epochs=16), 0.5, 7) == 56
    assert share_of_schedule(dict(max_iters=10), 1 / 90, 7) == 1
    with pytest.raises(UserError, match="max_iters"):
        share_of_schedule({}, 1.0, 7)


@pytest.mark.parametrize(("bits", "share"), [("w8a8", 1 / 90), ("w8a4", 1.0), ("w4a4", 1.0)])
def test_the_preset_takes_frames_and_schedule_of_the_float_config(bits, share):
    float_config = Config.fromfile(FLOAT_CONFIG)
    cfg = with_preset(FLOAT_CONFIG, "lsq-plus", bits, PRESETS)
    reference = Config.fromfile(PRESETS / f"selective-focus_{bits}.py")
    assert cfg.train_cfg.labelled_dataloader == float_config.train_dataloader
    assert cfg.train_cfg.float_schedule == dict(max_iters=float_config.train_cfg.max_iters)
    assert cfg.train_cfg.schedule_share == share
    assert cfg.train_dataloader == float_config.calibration_dataloader
    # The same quantizers, at the same bits, as Selective Focus.
    for key in ("scheme", "profile", "bits"):
        assert cfg.model.quantizer[key] == reference.ptq_model.quantizer[key]
    assert cfg.optim_wrapper.optimizer == reference.ptq_optim_wrapper.optimizer


def test_the_data_root_moves_training_frames_of_the_same_data_set_only():
    cfg = with_preset(FLOAT_CONFIG, "lsq-plus", "w8a4", PRESETS)
    set_roots(cfg, "data/synthetic/scored", None)
    assert cfg.train_cfg.labelled_dataloader.dataset.data_root == "data/synthetic/train"
    assert cfg.val_dataloader.dataset.data_root == "data/synthetic/scored"
    culane = with_preset(ROOT / "configs" / "resa" / "resa_r18_culane.py", "lsq-plus", "w8a4", PRESETS)
    apply_options(culane, dict(data_root="elsewhere/culane"))
    own = culane.train_cfg.labelled_dataloader.dataset
    assert (own.data_root, own.list_file) == ("elsewhere/culane", "list/train.txt")


def test_a_float_config_without_a_training_split_is_refused(detector, tmp_path):
    cfg = Config.fromfile(detector[0])
    cfg._cfg_dict.pop("train_dataloader")
    cfg.dump(tmp_path / "config.py")
    with pytest.raises(UserError, match="train_dataloader"):
        with_preset(tmp_path / "config.py", "lsq-plus", "w4a4", PRESETS)


def labelled(detector, roads: Path, **settings) -> LabelledFrames:
    loader = Config.fromfile(detector[0]).train_dataloader
    loader.dataset.data_root = str(roads / "train")
    with DefaultScope.overwrite_default_scope("mmsf"):  # as in a run
        return LabelledFrames({**loader, **settings})


def test_batches_depend_on_seed_and_iteration_alone(detector, roads):
    frames = labelled(detector, roads)
    whole = list(frames.batches(0, 7, seed=3))
    again = [
        *labelled(detector, roads, num_workers=2).batches(0, 3, seed=3),
        *labelled(detector, roads).batches(3, 7, seed=3),
    ]
    assert len(whole) == len(again) == 7
    for one, other in zip(whole, again):
        for image, same in zip(one["inputs"], other["inputs"]):
            assert torch.equal(image, same)
        for sample, same in zip(one["data_samples"], other["data_samples"]):
            assert sample.img_path == same.img_path
            for line, same_line in zip(sample.gt_instances.input_lines, same.gt_instances.input_lines):
                assert (line == same_line).all()


def test_every_epoch_meets_each_frame_once_and_augments_it_anew(detector, roads):
    frames = labelled(detector, roads, batch_size=5)
    batches = list(frames.batches(0, 4, seed=3))
    seen = [sample.img_path for batch in batches for sample in batch["data_samples"]]
    images = {}
    for path, image in zip(seen, (image for batch in batches for image in batch["inputs"])):
        images.setdefault(path, []).append(image)
    assert len(set(seen[:10])) == len(set(seen[10:])) == 10
    assert seen[:10] != seen[10:]
    assert frames.iterations_of_an_epoch == 2
    assert all(not torch.equal(*pair) for pair in images.values())


def calibrated(family: str) -> QuantWrapper:
    """A small detector of the zoo at W4A4, ready for LSQ+, its ranges from noise."""
    cfg = with_preset(ROOT / "configs" / family / f"{family}_tiny_synthetic.py", "lsq-plus", "w4a4", PRESETS)
    cfg.model.float_checkpoint = str(ROOT / "mmsf" / "zoo" / f"{family}_tiny_synthetic.pth")
    wrapper = MODELS.build(cfg.model)
    with torch.no_grad(), wrapper.quantized.observing() as histograms:
        wrapper.quantized_raw(noise(wrapper))
    wrapper.quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    return wrapper


def noise(wrapper: QuantWrapper) -> torch.Tensor:
    return torch.randn(2, 3, *wrapper.input_size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_training_runs_the_same_quantizers_as_prediction_and_reaches_all_of_them(family):
    wrapper = calibrated(family)
    images, network = noise(wrapper), wrapper.quantized.network
    with torch.no_grad():
        want = wrapper.quantized_raw(images)
        with wrapper.quantized.running():
            got = network.training_outputs(images)
    shared = want.keys() & got.keys()
    assert shared
    for name in shared:  # a layer that runs on more rows while training may sum in another order, and no more than that
        torch.testing.assert_close(got[name], want[name])
    height, width = wrapper.input_size
    line = torch.tensor([[0.3 * width, height - 1.0], [0.4 * width, 0.6 * height], [0.5 * width, 0.3 * height]]).numpy()
    samples = [DetDataSample(gt_instances=InstanceData(input_lines=[line])) for _ in images]
    losses = wrapper(images, samples, mode="loss")
    sum(value for name, value in losses.items() if "loss" in name).backward()
    for name, quantizer, weight in wrapper.quantized.quantized_weights():
        for parameter in (weight, quantizer.scale):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    for name, quantizer in wrapper.quantized.activation_quantizers():
        for parameter in (quantizer.scale, quantizer.zero_point):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_a_step_along_the_gradient_lowers_the_detectors_own_loss():
    wrapper = calibrated("condlanenet")
    images = noise(wrapper)
    line = torch.tensor([[200.0, 159.0], [180.0, 90.0], [190.0, 30.0]]).numpy()
    samples = [DetDataSample(gt_instances=InstanceData(input_lines=[line])) for _ in images]
    optimizer = torch.optim.Adam([p for p in wrapper.parameters() if p.requires_grad], lr=1e-4)
    values = []
    for _ in range(6):
        loss = sum(wrapper(images, samples, mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]
