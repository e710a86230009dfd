"""Annotated videos are whole or absent."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsf.visualization.video import video_file


def test_a_video_holds_the_frames_that_were_given(tmp_path):
    path = tmp_path / "new" / "clip.mp4"
    with video_file(path, rate=10.0) as write:
        for level in (40, 120, 200):
            write(np.full((90, 160, 3), level, np.uint8))
        assert not path.exists()
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (10.0, 3)
    assert [capture.read()[1].mean() for _ in range(3)] == pytest.approx([40, 120, 200], abs=6)
    assert [item.name for item in path.parent.iterdir()] == ["clip.mp4"]


def interrupted(path: Path) -> None:
    with video_file(path, rate=10.0) as write:
        write(np.zeros((90, 160, 3), np.uint8))
        raise KeyboardInterrupt


def test_an_interrupted_video_leaves_nothing_and_spares_the_old_one(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    for name in ("new.mp4", "old.mp4"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / name)
    assert [item.name for item in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"old"
