"""Lanes of images, folders and videos as files, as `tools/infer.py` starts it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from mmsf.datasets.sources import Source, Video, find_sources
from mmsf.engine.inferencer import FoundLanes, LaneInferencer
from mmsf.errors import UserError
from mmsf.files import require_folder
from mmsf.lanes.culane import lines_path, write_lines
from mmsf.lanes.tusimple import ROWS, TuSimpleFrame, resample, write_frames
from mmsf.visualization.overlay import write_image
from mmsf.visualization.video import video_file

FORMATS = ("culane", "tusimple")
OVERLAYS = "overlays"
TUSIMPLE_FILE = "predictions.json"


def infer(
    inferencer: LaneInferencer,
    inputs: Sequence[str | Path],
    out: str | Path,
    file_format: str = "culane",
    overlay: bool = True,
    batch_size: int | None = None,
) -> int:
    """Write the lanes of images, folders of images and videos into a folder.

    Args:
        inferencer: What finds them.
        inputs: Image files, folders of images, video files.
        out: The folder. ``culane`` writes ``<frame>.lines.txt`` a frame, ``tusimple`` one ``predictions.json``.
        file_format: One of ``FORMATS``.
        overlay: Whether to write ``overlays/<image>.jpg`` for every image and ``overlays/<video>.mp4`` for every video.
        batch_size: Frames that run through the model together; by default as many as the config's test dataloader takes.

    Returns:
        The number of frames.

    Raises:
        UserError: An input cannot be read, outputs would fall on inputs or on each other, or cannot be written.
    """
    out = Path(out)
    sources = find_sources(inputs)
    _require_apart(inputs, out)
    _require_own_names(sources)
    require_folder(out)
    if file_format == "culane":
        _require_short_names(sources, out)
    found = inferencer.stream(sources, batch_size or inferencer.cfg.test_dataloader.get("batch_size", 1))
    if overlay:
        found = _with_overlays(inferencer, found, out)
    if file_format == "tusimple":
        frames = [_tusimple_frame(one) for one in found]
        write_frames(out / TUSIMPLE_FILE, frames)
        return len(frames)
    count = 0
    for one in found:
        write_lines(lines_path(out, one.frame.name), map(_writable, one.sample.pred_instances.lines))
        count += 1
    return count


def _with_overlays(inferencer: LaneInferencer, found: Iterator[FoundLanes], out: Path) -> Iterator[FoundLanes]:
    """Draw what passes."""
    for source, group in groupby(found, key=lambda one: one.frame.source):
        with _picture_file(source, out / OVERLAYS / source.name) as write:
            for one in group:
                (picture,) = inferencer.visualize([one.frame], [one.sample])
                write(picture)
                yield one


def _picture_file(source: Source, path: Path) -> AbstractContextManager[Callable[[np.ndarray], None]]:
    if isinstance(source, Video):
        return video_file(path.with_suffix(".mp4"), source.rate)
    return nullcontext(partial(write_image, path.with_suffix(".jpg")))


def _writable(line: np.ndarray) -> np.ndarray:
    """A lane (P, 2) that a text can hold. One that is not finite fits no label; without its points it does not either."""
    return line if np.isfinite(line).all() else line[:0]


def _tusimple_frame(found: FoundLanes) -> TuSimpleFrame:
    rows = ROWS * (found.frame.image.shape[0] / 720)
    lanes = resample(found.sample.pred_instances.lines, rows)
    return TuSimpleFrame(found.frame.name, list(lanes), rows, round(found.milliseconds, 3))


def _require_apart(inputs: Sequence[str | Path], out: Path) -> None:
    """Outputs must not overwrite labels that lie beside images, and a second run must not take overlays for inputs."""
    place = out.resolve()
    if place.exists() and not place.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    for given in inputs:
        path = Path(given).resolve()
        if place == path or place in path.parents or (path.is_dir() and path in place.parents):
            raise UserError(f"input {given} and --out {out} lie in each other; give a folder of its own to write to")


def _require_own_names(sources: Sequence[Source]) -> None:
    """Outputs must not overwrite each other: what is read from several folders may be called the same."""
    seen: dict[tuple[type, Path], Source] = {}
    for source in sources:
        if (other := seen.setdefault((type(source), Path(source.name).with_suffix("")), source)) is not source:
            raise UserError(f"{other.path} and {source.path} would be written under one name; give one of them at a time")


def _require_short_names(sources: Sequence[Source], out: Path) -> None:
    """The texts' names are longer than the images'; one that is too long must not stop a folder halfway."""
    longest = os.pathconf(out, "PC_NAME_MAX")
    for source in sources:
        if not isinstance(source, Video) and len(os.fsencode(lines_path(out, source.name).name)) > longest:
            raise UserError(f"{source.path}: its name leaves no room for .lines.txt; give it a shorter one")
