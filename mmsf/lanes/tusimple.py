"""TuSimple's JSON format: one object a line, x-positions of every lane on the rows ``h_samples``."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.lanes.lane import Lane
from mmsf.lanes.rows import lanes_to_rows

MISSING = -2.0
"""The x-position of a lane on a row that it does not reach."""

ROWS = np.arange(160.0, 720.0, 10.0)
"""The rows on which lanes are predicted, pixels of an image that is 720 high; some labels leave the upper ones out."""


# Characters that no file's name can have: the end of a C string, and halves of characters.
_UNNAMEABLE = {"\0", *map(chr, range(0xD800, 0xE000))}


@dataclass(frozen=True, eq=False)
class TuSimpleFrame:
    """One line of a label or prediction file.

    Attributes:
        raw_file: Name of the frame, relative to the data root.
        lanes: One (R,) float64 array a lane: x in pixels of the original image on each row, negative where absent.
        h_samples: (R,) float64, the rows in pixels of the original image; None in a prediction file that leaves them out.
        run_time: Milliseconds that the prediction took; None in a label file.
    """

    raw_file: str
    lanes: list[np.ndarray]
    h_samples: np.ndarray | None = None
    run_time: float | None = None

    def lines(self) -> list[np.ndarray]:
        """The lanes as points, one (P, 2) float64 array each; P is 0 for a lane that is absent on all rows.

        Raises:
            ValueError: The frame has no ``h_samples``.
        """
        if self.h_samples is None:
            raise ValueError(f"{self.raw_file} has no h_samples")
        return [lane_points(lane, self.h_samples) for lane in self.lanes]


def lane_points(xs: np.ndarray, h_samples: np.ndarray) -> np.ndarray:
    """The points of a lane: the rows where x is not negative.

    Args:
        xs: (R,) x-positions, pixels; negative where absent.
        h_samples: (R,) rows, pixels.

    Returns:
        (P, 2) float64, x and y, in the order of the rows.
    """
    points = np.stack([np.asarray(xs, np.float64), np.asarray(h_samples, np.float64)], 1)
    return points[points[:, 0] >= 0]


def resample(lanes: Sequence[Lane | np.ndarray], h_samples: np.ndarray) -> np.ndarray:
    """x-positions of lanes on TuSimple's rows, see `mmsf.lanes.rows.lanes_to_rows`.

    Args:
        lanes: L lanes of (P, 2), pixels of the original image.
        h_samples: (R,) rows, pixels.

    Returns:
        (L, R) float64, `MISSING` where the lane does not reach the row or lies left of the image.
    """
    xs = lanes_to_rows(lanes, np.asarray(h_samples, np.float64))
    return np.where(xs >= 0, xs, MISSING)  # NaN compares as False


def _numbers(value: Any, what: str) -> np.ndarray:
    if not isinstance(value, list):
        raise UserError(f"{what} is not a list of numbers")
    # bool is an int for Python, but no x-position
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value):
        raise UserError(f"{what} is not a list of numbers")
    try:
        numbers = np.array(value, np.float64)
    except OverflowError:
        numbers = np.array(np.inf)
    if not np.isfinite(numbers).all():
        raise UserError(f"{what} has a number that is not finite")
    return numbers


def _frame(entry: Any, h_samples: bool, run_time: bool) -> TuSimpleFrame:
    if not isinstance(entry, dict):
        raise UserError("not a JSON object")
    keys = ["raw_file", "lanes", *["h_samples"] * h_samples, *["run_time"] * run_time]
    if missing := [key for key in keys if key not in entry]:
        raise UserError(f"{' and '.join(missing)} missing")
    if not isinstance(entry["raw_file"], str):
        raise UserError("raw_file is not a string")
    if not _UNNAMEABLE.isdisjoint(entry["raw_file"]):
        raise UserError("raw_file is no name of a file")
    if not isinstance(entry["lanes"], list):
        raise UserError("lanes is not a list")
    rows = _numbers(entry["h_samples"], "h_samples") if "h_samples" in entry else None
    if rows is not None and not len(rows):
        raise UserError("h_samples is empty")
    lanes = [_numbers(lane, f"lane {index}") for index, lane in enumerate(entry["lanes"])]
    for index, lane in enumerate(lanes):
        if rows is not None and len(lane) != len(rows):
            raise UserError(f"lane {index} has {len(lane)} x-positions for {len(rows)} h_samples")
    time = entry.get("run_time")
    if time is not None:
        (time,) = _numbers([time], "run_time").tolist()
    return TuSimpleFrame(entry["raw_file"], lanes, rows, time)


def read_frames(path: str | Path, h_samples: bool = True, run_time: bool = False) -> list[TuSimpleFrame]:
    """Read a label file (``label_data.json``) or a prediction file. Empty lines are skipped.

    Args:
        path: The file, one JSON object a line.
        h_samples: Every line must have ``h_samples``; labels have, predictions need not.
        run_time: Every line must have ``run_time``; predictions have.

    Raises:
        UserError: The file cannot be read, or a line is malformed; the message names file and line.
    """
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"cannot read {path}: {reason}; give a TuSimple JSON file, one object a line") from error
    frames = []
    for number, text in enumerate(content.split("\n"), 1):
        if not text.strip():
            continue
        try:
            frames.append(_frame(json.loads(text), h_samples, run_time))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error.msg}); TuSimple files hold one object a line"
            ) from error
        except (RecursionError, ValueError) as error:  # of `_frame`; or too deep, or a number of too many digits
            raise UserError(f"{path}, line {number}: {error}") from error
    return frames


def _plain(numbers: np.ndarray) -> list[float]:
    """A list for JSON, whole numbers without a fraction, as the data set writes them."""
    return [int(number) if number.is_integer() else number for number in np.asarray(numbers, np.float64).tolist()]


def write_frames(path: str | Path, frames: Iterable[TuSimpleFrame]) -> None:
    """Write a label or prediction file; `read_frames` gives back the same numbers.

    Args:
        path: Where the file shall stand.
        frames: The lines of the file.
    """
    texts = []
    for frame in frames:
        entry: dict[str, Any] = {"raw_file": frame.raw_file, "lanes": [_plain(lane) for lane in frame.lanes]}
        if frame.h_samples is not None:
            entry["h_samples"] = _plain(frame.h_samples)
        if frame.run_time is not None:
            entry["run_time"] = frame.run_time
        texts.append(json.dumps(entry) + "\n")
    with whole_or_absent(path) as temporary:
        temporary.write_text("".join(texts), encoding="utf-8")
