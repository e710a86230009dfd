"""What calibration keeps stays within a limit, and where it is kept changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_engine.tuned import state, tuned

from mmsf.datasets.synthetic import write_dataset
from mmsf.errors import UserError
from mmsf.reconstruction import TensorMemory

FRAMES = 12
LIMIT_MB = 10


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[float, dict]:
    """Limit -> what a process that calibrated a narrow RESA on frames of 288 x 800 has told of itself."""
    folder = tmp_path_factory.mktemp("full_size")
    write_dataset(folder / "train", frames=FRAMES, seed=1)
    write_dataset(folder / "test", frames=1, seed=2)
    script = Path(__file__).with_name("measured_memory.py")
    runs = {
        limit: subprocess.Popen(
            [sys.executable, str(script), str(folder), str(folder / str(limit)), str(limit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for limit in (LIMIT_MB, 4096)
    }
    found = {}
    for limit, run in runs.items():
        output, error = run.communicate(timeout=600)
        assert run.returncode == 0, error
        found[limit] = json.loads(output.rpartition("FOUND ")[2])
    return found


def test_kept_tensors_stay_within_the_limit_and_the_process_is_smaller_by_what_lies_in_files(measured):
    small, large = measured[LIMIT_MB], measured[4096]
    # uint8 images, and maps of five classes in float16.
    images, maps = (FRAMES * 288 * 800 * numbers / 2**20 for numbers in (3, 5 * 2))
    assert small["types"] == {"out": "torch.float16", "lane": "torch.float32"}
    assert images < LIMIT_MB
    assert small["held_mb"] == pytest.approx(images, rel=0.001)
    assert small["spilled_mb"] == pytest.approx(maps, rel=0.001)
    assert large["held_mb"] == pytest.approx(images + maps, rel=0.001)
    assert large["spilled_mb"] == 0
    assert large["kept_mb"] - small["kept_mb"] == pytest.approx(maps, rel=0.2)
    assert large["peak_mb"] - small["peak_mb"] > 0.8 * maps


def test_where_it_is_kept_changes_no_bit(measured):
    assert measured[LIMIT_MB]["digest"] == measured[4096]["digest"]
    assert measured[LIMIT_MB]["curves"] == measured[4096]["curves"]


def test_several_heads_and_further_hooks_see_the_same_from_files(roads, tmp_path):
    hook = dict(type="mmsf.BestMomentHook", frames=4, interval=2)
    memory, files = (tuned(roads, tmp_path / str(limit), hook, train_cfg__memory_mb=limit) for limit in (4096, 0))
    assert (files.train_loop.memory.held, memory.train_loop.memory.spilled) == (0, 0)
    assert files.train_loop.memory.spilled == memory.train_loop.memory.held > 0
    one, other = state(memory), state(files)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert not list((tmp_path / "0").glob(".kept*"))


def test_room_for_shorter_is_what_is_left(tmp_path):
    memory = TensorMemory(tmp_path, 1, torch.device("cpu"))
    memory.empty((2**19,), torch.uint8)
    rest = memory.rest(torch.device("cpu"))
    rest.empty((2**19,), torch.uint8)
    assert (rest.held, rest.spilled) == (2**19, 0)
    rest.empty((2**19,), torch.uint8).fill_(7)
    assert (rest.held, rest.spilled) == (2**19, 2**19)
    assert memory.held == 2**19


def test_a_full_disk_is_told_before_anything_is_written(tmp_path):
    memory = TensorMemory(tmp_path, 0, torch.device("cpu"))
    with pytest.raises(UserError, match=r"no room for \d+ MB .*train_cfg\.memory_mb"):
        memory.empty((2**50,), torch.uint8)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_limit_is_refused(tmp_path):
    with pytest.raises(UserError, match="memory_mb must not be negative; got -1"):
        TensorMemory(tmp_path, -1, torch.device("cpu"))
