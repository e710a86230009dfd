"""Write synthetic roads as a CULane data set."""

import json
import math
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmsf.datasets.synthetic.frame import draw_frame
from mmsf.datasets.synthetic.scene import CLIP, category_of
from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.lanes.culane import CATEGORIES, frame_path, lines_path, write_lines, write_list

# Raised whenever a frame of the same seed comes out differently, so that two generators never share a folder.
GENERATOR = 1
_MARK = "synthetic.json"


def frame_name(index: int) -> str:
    """Name of a frame in the lists, without CULane's leading slash."""
    return f"driver_synthetic/{index // CLIP:05d}.MP4/{index % CLIP:05d}.jpg"


def write_frame(out: Path, seed: int, index: int) -> None:
    """Draw and write one frame; the labels come last, so a frame that has them is whole."""
    frame = draw_frame(seed, index)
    written, code = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, frame.jpeg_quality])
    if not written:
        raise RuntimeError(f"cannot encode frame {index}")
    with whole_or_absent(frame_path(out, frame_name(index))) as temporary:
        temporary.write_bytes(code.tobytes())
    write_lines(lines_path(out, frame_name(index)), [np.round(line, 3) for line in frame.lines])


def write_dataset(
    out: str | Path, frames: int, seed: int, workers: int = 1, report: Callable[[str], None] | None = None
) -> None:
    """Write ``frames`` frames of synthetic roads in CULane's layout.

    The bytes depend on ``seed`` alone, not on ``workers``; fewer frames are a prefix of more. A run that was interrupted, or
    a smaller one, of the same seed is continued. The lists come last: a folder with lists is whole.

    Args:
        out: Folder to write to; new, empty, or of an earlier run of the same seed.
        frames: Number of frames.
        seed: Number of the data set; two seeds share no frame.
        workers: Number of processes.
        report: Called with a line about progress now and then.

    Raises:
        UserError: A wrong number, or ``out`` holds something else.
    """
    out = Path(out)
    for name, value, least in (("frames", frames, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise UserError(f"{name} is {value}; give at least {least}")
    _claim(out, seed)
    todo = [index for index in range(frames) if not lines_path(out, frame_name(index)).exists()]
    job, count = partial(write_frame, out, seed), min(workers, len(todo))
    if count > 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # before the fork: a child cannot end its parent's threads, and would wait for them for ever
        try:
            with multiprocessing.get_context("fork").Pool(count) as pool:
                _watch(pool.imap_unordered(job, todo, chunksize=4), len(todo), report)
        finally:
            cv2.setNumThreads(threads)
    else:
        _watch(map(job, todo), len(todo), report)
    _write_lists(out, frames, seed)
    if report:
        report(f"wrote {frames} frames to {out}")


def _claim(out: Path, seed: int) -> None:
    """Make sure that the folder is ours to write to."""
    mark = {"generator": GENERATOR, "seed": seed}
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder")
    if (out / _MARK).is_file():
        try:
            found = json.loads((out / _MARK).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{out / _MARK} cannot be read: {error}; give another folder, or empty this one") from error
        if found != mark:
            raise UserError(f"{out} holds synthetic roads of {found}, not of {mark}; give another folder")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; give a new folder")
    else:
        with whole_or_absent(out / _MARK) as temporary:
            temporary.write_text(json.dumps(mark) + "\n")


def _watch(done, total: int, report: Callable[[str], None] | None, every: float = 10.0) -> None:
    """Run through the results and report about every ``every`` seconds."""
    start = last = time.monotonic()
    for number, _ in enumerate(done, 1):
        now = time.monotonic()
        if report and now - last >= every:
            last, rate = now, number / (now - start)
            report(f"{number}/{total} frames, {rate:.1f} frames/s, {math.ceil((total - number) / rate)} s left")


def _write_lists(out: Path, frames: int, seed: int) -> None:
    """All frames as ``train.txt`` and as ``test.txt``, and the nine lists of the categories."""
    names = [frame_name(index) for index in range(frames)]
    categories = [category_of(seed, index) for index in range(frames)]
    for number, category in enumerate(CATEGORIES):
        members = [name for name, own in zip(names, categories) if own == category]
        write_list(out / "list" / "test_split" / f"test{number}_{category}.txt", members)
    for split in ("train", "test"):
        write_list(out / "list" / f"{split}.txt", [f"/{name}" for name in names])
