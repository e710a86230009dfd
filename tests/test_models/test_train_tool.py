"""The training command line."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from originals import ROOT

from mmsf.lanes.culane import write_lines, write_list
from mmsf.models.checkpoints import read_checkpoint, recognise


def run_tool(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Four frames of one lane each, in CULane's layout."""
    root, generator = tmp_path / "roads", np.random.default_rng(0)
    names = [f"driver/clip/{index:05d}.jpg" for index in range(4)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), generator.integers(0, 255, (59, 164, 3), np.uint8))
        write_lines((root / name).with_suffix(".lines.txt"), [np.array([[40.0, 58.0], [80.0, 30.0]])])
    write_list(root / "list" / "train.txt", names)
    write_list(root / "list" / "test.txt", names[:2])
    return root


def assert_refused(result: subprocess.CompletedProcess, said: str) -> None:
    assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr[-2000:]
    assert said in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_training_writes_a_checkpoint_that_loads_and_resumes_where_it_ended(data_root: Path, tmp_path: Path) -> None:
    config, work = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py", tmp_path / "work"
    common = ["--work-dir", work, "--data-root", data_root, "--cfg-options", "train_dataloader.batch_size=2"]
    # The config trains in a folder of its own, which stays.
    common += [f"train_dataloader.dataset.data_root={data_root}"]
    common += ["default_hooks.checkpoint.interval=1", "train_cfg.val_interval=2", "default_hooks.logger.interval=1"]
    first = run_tool(config, *common, "train_cfg.max_iters=2")
    assert first.returncode == 0, first.stderr[-2000:]
    assert recognise(read_checkpoint(work / "iter_2.pth").state) == "lstr"
    second = run_tool(config, "--resume", *common, "train_cfg.max_iters=3")
    assert second.returncode == 0, second.stderr[-2000:]
    assert "resumed epoch: 0, iter: 2" in second.stdout + second.stderr
    assert (work / "iter_3.pth").is_file()
    # `last_checkpoint` holds a path, here of the folder's old place.
    work.rename(tmp_path / "moved")
    common[1] = tmp_path / "moved"
    (tmp_path / "moved" / "iter_3.pth").rename(tmp_path / "iter_3.pth")
    refused = run_tool(config, "--resume", *common, "train_cfg.max_iters=4")
    assert_refused(refused, f"error: {tmp_path / 'moved' / 'last_checkpoint'} names iter_3.pth, which is not there")
    (tmp_path / "iter_3.pth").rename(tmp_path / "moved" / "iter_3.pth")
    third = run_tool(config, "--resume", *common, "train_cfg.max_iters=4")
    assert third.returncode == 0, third.stderr[-2000:]
    assert "resumed epoch: 0, iter: 3" in third.stdout + third.stderr
    common.append("train_cfg.max_iters=5")
    newest = tmp_path / "moved" / "iter_4.pth"
    for options, said in (
        (["model.num_queries=9"], f"error: {newest} does not fit the config's model and optimizer: size mismatch"),
        (["optim_wrapper.optimizer.type=SGD", "optim_wrapper.optimizer.momentum=0.9"], "of another optimizer than SGD"),
    ):
        assert_refused(run_tool(config, "--resume", *common, *options), said)
    newest.write_bytes(newest.read_bytes()[:9999])
    assert_refused(run_tool(config, "--resume", *common), f"error: {newest} cannot be read as a checkpoint")
    (tmp_path / "moved" / "last_checkpoint").write_text("")
    assert_refused(run_tool(config, "--resume", *common), "last_checkpoint names nothing, which is not there")


def test_a_missing_config_is_one_clear_line() -> None:
    result = run_tool("configs/lstr/nothing.py")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines() == ["error: config configs/lstr/nothing.py does not exist"]
