import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from test_engine.tuned import tuned
from torch.utils.data import DataLoader

from mmsf.datasets.augmentation import another_version
from mmsf.engine.calibration import CalibrationFrames
from mmsf.engine.sensitivity_hook import SensitivityHook
from mmsf.reconstruction import TensorMemory

GIVEN = 3


@pytest.fixture
def collect(tmp_path):
    """Frames of random pixels, and other versions of them."""
    pixels = torch.randint(256, (GIVEN, 3, 24, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = [dict(inputs=image, data_samples=DetDataSample(metainfo=dict(number=i))) for i, image in enumerate(pixels)]
    memory = TensorMemory(tmp_path, 64, torch.device("cpu"))

    def run(at_least: int, seed: int = 0) -> tuple[torch.Tensor, CalibrationFrames]:
        loader = DataLoader(frames, batch_size=2, collate_fn=list)
        return pixels, CalibrationFrames.collect(loader, memory, at_least=at_least, seed=seed)

    return run


@pytest.mark.parametrize(("at_least", "versions"), [(0, 1), (3, 1), (4, 2), (9, 3), (10, 4)])
def test_there_are_as_many_versions_as_make_up_the_number(collect, at_least, versions):
    _, frames = collect(at_least)
    assert frames.versions == versions
    assert len(frames.everything) == versions * GIVEN
    assert [sample.number for sample in frames.samples] == list(range(GIVEN)) * versions
    assert [sample.calibration_index for sample in frames.samples] == frames.everything


def test_the_frames_themselves_stay_as_they_are_and_are_all_that_is_measured_on(collect):
    pixels, frames = collect(9)
    assert torch.equal(frames.images[:GIVEN], pixels)
    assert len(frames) == GIVEN
    assert torch.equal(torch.cat([batch["inputs"] for batch in frames.batches()]), pixels)
    others = frames.images[GIVEN:].unflatten(0, (2, GIVEN))
    assert all(not torch.equal(other, pixels[i]) for version in others for i, other in enumerate(version))
    assert not torch.equal(others[0], others[1])


def test_versions_repeat_with_the_seed_and_change_with_it(collect):
    first, again, other = (collect(9, seed)[1].images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first[GIVEN:], other[GIVEN:])


def test_tuning_sees_every_version_equally_often_and_none_of_a_frame_that_is_held_out(collect):
    _, frames = collect(9)
    frames.tuned = [0, 2]
    drawn = [s.calibration_index for i in range(6) for s in frames.tuning_batch(i, seed=3)["data_samples"]]
    assert sorted(drawn) == sorted([0, 2, 3, 5, 6, 8] * 2)


def test_a_version_of_numbers_that_are_no_pixels_keeps_their_type_and_range():
    image = torch.rand(3, 24, 40)
    changed = another_version(image, np.random.default_rng(0))
    assert changed.dtype == image.dtype
    assert changed.shape == image.shape
    assert 0 <= changed.min() < changed.max() <= 1


def test_a_run_is_tuned_on_versions_and_measured_on_the_frames(roads, tmp_path):
    runs = [tuned(roads, tmp_path / str(number), train_cfg__tuning_frames=number) for number in (30, 0)]
    loop, plain = (run.train_loop for run in runs)
    assert loop.frames.versions == -(-30 // len(loop.frames))
    assert loop.frame_counts["calibration"] == len(loop.frames)
    assert all(len(kept) == len(loop.frames.everything) for kept in loop.model.kept_outputs.values())
    # Ranges, units and the first curves come from the frames alone.
    assert loop.errors["before"] == plain.errors["before"]
    first, same = (next(hook for hook in run.hooks if isinstance(hook, SensitivityHook)).history[0] for run in runs)
    assert first == same
    assert loop.errors["after"] != plain.errors["after"]
