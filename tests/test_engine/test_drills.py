"""What happens to a run: broken numbers, odd frames, no lanes, a full disk. docs/drills.md has the table."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from small_detectors import INPUT_SIZE, small
from test_engine.tuned import assert_resumes_exactly, state, tuned

from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.results import write_json
from mmsf.engine.storage import WholeOrAbsentBackend
from mmsf.errors import UserError
from mmsf.lanes.culane import write_lines, write_list
from mmsf.lanes.tusimple import TuSimpleFrame, write_frames
from mmsf.registry import HOOKS
from mmsf.safe_globals import save
from mmsf.visualization import Frame, write_overlays

STATE = dict[str, torch.Tensor]


def float_weights(work_dir: Path, change: Callable[[STATE], None]) -> None:
    """Put changed weights of the small detector where `tuned` takes them from."""
    work_dir.mkdir()
    weights = small("laneatt").state_dict()
    change(weights)
    torch.save({"state_dict": weights}, work_dir / "float.pth")


# Broken numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "value", "met"),
    [
        ("backbone.layer2.0.conv1.weight", 3e38, "the activation at 'backbone.layer2.0.conv2'"),
        ("backbone.layer2.0.conv2.weight", 3e38, "the activation at 'backbone.layer2.1.conv1'"),
        ("reg_layer.weight", 3e38, "the raw output"),
    ],
)
def test_a_layer_that_gives_nan_or_infinite_numbers_is_named(weight, value, met, roads, tmp_path):
    def spoil(weights: STATE) -> None:
        weights[weight].view(-1)[:50] = value

    float_weights(tmp_path / "run", spoil)
    layer = weight.rpartition(".")[0]
    with pytest.raises(UserError, match=f"{met}.* is NaN or infinite; .* come up first in what layer '{layer}' gives"):
        tuned(roads, tmp_path / "run")
    assert not (tmp_path / "run" / "quantized.pth").exists()


@HOOKS.register_module()
class BreakAfter(Hook):
    """Makes a weight NaN after an iteration, as too high a learning rate does."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == self.iterations:
            with torch.no_grad():
                runner.model.quantized.network.reg_layer.bias.fill_(float("nan"))


def test_tuning_that_diverges_stops_with_the_heads_names(roads, tmp_path):
    with pytest.raises(UserError, match=r"loss_\w+, error_\w+.* is NaN or infinite at iteration 2: tuning diverged; lower"):
        tuned(roads, tmp_path / "run", dict(type="BreakAfter", iterations=2))
    assert not (tmp_path / "run" / "quantized.pth").exists()


def test_a_network_that_its_last_step_breaks_is_not_written(roads, tmp_path):
    with pytest.raises(UserError, match="NaN or infinite after tuning: tuning diverged; lower the learning rates"):
        tuned(roads, tmp_path / "run", dict(type="BreakAfter", iterations=4))
    assert not (tmp_path / "run" / "quantized.pth").exists()


# Frames ----------------------------------------------------------------------------------------------------------------


def frames_of(roads: Path, folder: Path, sizes: list[tuple[int, int]], constant: bool = False) -> Path:
    """Calibration frames of these heights and widths, noise or all of one grey; the evaluation frames of the roads."""
    (folder / "train").mkdir(parents=True)
    (folder / "test").symlink_to(roads / "test")
    generator = np.random.default_rng(0)
    for index, size in enumerate(sizes):
        image = np.full((*size, 3), 90, np.uint8) if constant else generator.integers(0, 255, (*size, 3), np.uint8)
        cv2.imwrite(str(folder / "train" / f"{index}.png"), image)
    return folder


def test_frames_of_mixed_sizes_are_resized_to_the_networks(roads, tmp_path):
    sizes = [(90, 120), (590, 1640), (64, 64)]
    runner = tuned(frames_of(roads, tmp_path / "frames", sizes), tmp_path / "run")
    frames = runner.train_loop.frames
    assert frames.images.shape == (3, 3, *INPUT_SIZE["laneatt"])
    assert [tuple(sample.ori_shape[:2]) for sample in frames.samples] == sizes
    assert (tmp_path / "run" / "quantized.pth").exists()


def test_frames_of_mixed_sizes_that_nothing_resizes_are_refused(roads, tmp_path):
    folder = frames_of(roads, tmp_path / "frames", [(96, 160), (64, 160)])
    with pytest.raises(UserError, match="several sizes; resize them in the pipeline"):
        tuned(folder, tmp_path / "run", train_dataloader__dataset__pipeline__0__scale=None)


def test_constant_frames_and_dead_layers_give_finite_ranges_and_results(roads, tmp_path):
    def kill(weights: STATE) -> None:
        for key in ("conv1.weight", "bn1.weight", "bn1.bias"):
            weights[f"backbone.layer3.0.{key}"].zero_()

    float_weights(tmp_path / "run", kill)
    runner = tuned(frames_of(roads, tmp_path / "frames", [(96, 160)] * 3, constant=True), tmp_path / "run")
    assert all(value.isfinite().all() for value in state(runner).values())
    scales = {name: q.scale for name, q in runner.train_loop.model.quantized.activation_quantizers()}
    assert all((scale > 0).all() for scale in scales.values())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["iterations"] == 4
    # Every frame is the same: so is what the quantized model says of them.
    outputs = runner.train_loop.quantized_outputs()
    assert all(torch.allclose(value[:1].expand_as(value), value, atol=1e-5) for value in outputs.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 5))
def test_whatever_the_batch_size_every_frame_is_seen_once_a_pass_and_evenly_in_tuning(count, batch_size, seed):
    samples = [DetDataSample() for _ in range(count)]
    frames = CalibrationFrames(torch.arange(count * 3.0).view(count, 3, 1, 1), samples, batch_size)
    seen = [s.metainfo["calibration_index"] for batch in frames.batches() for s in batch["data_samples"]]
    assert seen == list(range(count))
    assert len(frames.parts()) == len(list(frames.batches()))
    # As many iterations as there are frames: each frame as often as a batch has places.
    batches = [frames.tuning_batch(iteration, seed) for iteration in range(count)]
    drawn = [s.metainfo["calibration_index"] for batch in batches for s in batch["data_samples"]]
    assert sorted(drawn) == sorted(list(range(count)) * frames.batch_size)
    assert all(
        torch.equal(b["inputs"][:, 0, 0, 0], torch.tensor([3.0 * s.calibration_index for s in b["data_samples"]]))
        for b in batches
    )


def test_a_batch_size_that_does_not_divide_measures_the_same(roads, tmp_path):
    loops = [tuned(roads, tmp_path / str(size), train_dataloader__batch_size=size).train_loop for size in (4, 10)]
    assert [loop.batch_size for loop in loops] == [4, 10]
    for name, error in loops[0].errors["before"].items():
        assert error == pytest.approx(loops[1].errors["before"][name], rel=1e-3)


# No lanes --------------------------------------------------------------------------------------------------------------


def test_without_a_lane_in_any_frame_the_log_says_so_and_confidence_alone_is_tuned(roads, tmp_path):
    whole, resumed = assert_resumes_exactly(roads, tmp_path, [], after=3, model__detector__adapter__threshold=0.999999)
    for runner in (whole, resumed):
        log = "".join(path.read_text() for path in Path(runner.work_dir).glob("*/*.log"))
        assert "no lane in any of the 10 calibration frames: of its heads only the confidences can be compared" in log
        history = next(hook.history for hook in runner.hooks if hasattr(hook, "history"))
        assert [(entry["selected"], set(entry["weights"].values())) for entry in history] == [([], {0.0})] * 3
    ranges = torch.load(tmp_path / "whole" / "ranges.pth", weights_only=True)["state_dict"]
    tuned_state = state(whole)
    assert not tuned_state["head_weights"].any()
    moved = {name for name, value in tuned_state.items() if not torch.equal(value, ranges[name])}
    assert any("cls_layer" in name for name in moved)
    assert not any("reg_layer.layer" in name for name in moved)


def test_no_iterations_end_with_the_calibrated_model_though_the_preset_has_a_schedule(roads, tmp_path):
    runner = tuned(roads, tmp_path / "run", train_cfg__max_iters=0)
    ranges = torch.load(tmp_path / "run" / "ranges.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, ranges[name]) for name, value in state(runner).items())
    assert (tmp_path / "run" / "quantized.pth").exists()


# A full disk -----------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """While the block runs, the system refuses to write past ``room`` bytes of any file, as a full disk does.

    RLIMIT_FSIZE: a write past it fails with EFBIG, halfway through the file, where one on a full disk has ENOSPC.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NOISE = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)
WRITERS: dict[str, Callable[[Path, int], object]] = {
    "0.lines.txt": lambda path, n: write_lines(path, [np.full((40 * n, 2), 1 / 3)]),
    "list.txt": lambda path, n: write_list(path, [f"/clip/{i:05d}.jpg" for i in range(100 * n)]),
    "label.json": lambda path, n: write_frames(path, [TuSimpleFrame("a", [np.full(200 * n, 1 / 3)])]),
    "summary.json": lambda path, n: write_json(path, dict(numbers=list(range(500 * n)))),
    "quantized.pth": lambda path, n: save({"state_dict": {"a": torch.zeros(500 * n)}}, path),
    "ranges.pth": lambda path, n: WholeOrAbsentBackend().put(b"x" * 5000 * n, path),
    "config.py": lambda path, n: WholeOrAbsentBackend().put_text("x" * 5000 * n, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_every_output_is_whole_or_absent(name, tmp_path):
    path, write = tmp_path / name, WRITERS[name]
    with (
        full_disk(1000),
        pytest.raises(UserError, match=rf"{name} cannot be written: .*free space or choose another folder"),
    ):
        write(path, 1)
    assert list(tmp_path.iterdir()) == []
    write(path, 1)
    first = path.read_bytes()
    with full_disk(len(first) + 100), pytest.raises(UserError, match=f"{name} cannot be written"):
        write(path, 9)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == first
    write(path, 9)
    assert len(path.read_bytes()) > len(first)


def test_on_a_full_disk_a_picture_is_whole_or_absent(tmp_path):
    frame = Frame("0.jpg", NOISE, {"float": []}, {}, {})
    with full_disk(1000), pytest.raises(UserError, match="cannot be written"):
        write_overlays(tmp_path / "overlays", iter([frame]))
    assert list((tmp_path / "overlays").iterdir()) == []


def test_a_run_on_a_full_disk_stops_in_one_line_and_resumes_to_the_same_bits(roads, tmp_path):
    whole = tuned(roads, tmp_path / "whole")
    sizes = {name: (tmp_path / "whole" / name).stat().st_size for name in ("ranges.pth", "quantized.pth", "iter_4.pth")}
    run = tmp_path / "run"
    for room, name in ((sizes["ranges.pth"] - 1000, "ranges.pth"), (sizes["iter_4.pth"] - 5000, r"iter_\d.pth")):
        with full_disk(room), pytest.raises(UserError, match=f"{name} cannot be written"):
            tuned(roads, run, resume=True)
        assert not (run / "quantized.pth").exists()
        assert not list(run.glob(".*.pth"))
    resumed = tuned(roads, run, resume=True)
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())
