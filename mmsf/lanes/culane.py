"""CULane's text formats: a ``.lines.txt`` beside every frame, and lists of frames."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mmsf.errors import UserError
from mmsf.files import whole_or_absent

CATEGORIES = ("normal", "crowd", "hlight", "shadow", "noline", "arrow", "curve", "cross", "night")
"""The nine categories of the test split, in the order of their list files ``test<i>_<category>.txt``."""

# A number as a C++ stream reads it: it takes characters while they continue a decimal number, and fails if they are none.
_NUMBER = re.compile(rb"[ \t\r\v\f]*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]*)?)")


def _stream_numbers(text: bytes) -> list[float]:
    """The numbers up to the first thing that a C++ stream cannot read as a double."""
    numbers: list[float] = []
    position = 0
    while match := _NUMBER.match(text, position):
        try:
            number = float(match.group(1))
        except ValueError:  # such as "1e"
            break
        if number in (float("inf"), float("-inf")):  # overflow fails the stream
            break
        numbers.append(number)
        position = match.end()
    return numbers


def _line_points(text: bytes) -> np.ndarray:
    try:
        numbers = np.array(list(map(float, text.split())), np.float64)
        # Python reads "nan", "inf" and "1_0" as numbers, a C++ stream does not.
        plain = b"_" not in text and np.isfinite(numbers).all()
    except ValueError:
        plain = False
    if not plain:
        numbers = np.array(_stream_numbers(text), np.float64)
    return numbers[: len(numbers) // 2 * 2].reshape(-1, 2)


def parse_lines(content: bytes) -> list[np.ndarray]:
    """Read the content of a ``.lines.txt`` exactly as the official CULane evaluator does.

    Every text line is one lane, also an empty one or one of a single point: the evaluator counts them. A lane ends at the
    first token that is no finite decimal number; an x without its y is dropped.

    Args:
        content: The bytes of the file.

    Returns:
        One (P, 2) float64 array a text line, x and y in pixels of the original image, in the order of the file; P may be 0.
    """
    texts = content.split(b"\n")
    if not texts[-1]:
        texts.pop()
    return [_line_points(text) for text in texts]


def read_lines(path: str | Path) -> list[np.ndarray]:
    """Read one ``.lines.txt``, see `parse_lines`. A missing file holds no lanes, as for the official evaluator.

    Args:
        path: The file.

    Raises:
        UserError: The path is there but is no readable file.
    """
    try:
        with open(path, "rb") as file:
            return parse_lines(file.read())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a CULane .lines.txt file") from error


def format_lines(lines: Iterable[np.ndarray]) -> str:
    """The text of a ``.lines.txt``; `parse_lines` gives back the very same numbers.

    Args:
        lines: Lanes of (P, 2), pixels of the original image.

    Raises:
        ValueError: A coordinate is not finite: the evaluator would stop reading there.
    """
    texts = []
    for points in lines:
        points = np.asarray(points, np.float64).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise ValueError("a lane with a coordinate that is not finite cannot be written as CULane text")
        texts.append(" ".join(map(repr, points.ravel().tolist())) + "\n")
    return "".join(texts)


def write_lines(path: str | Path, lines: Iterable[np.ndarray]) -> None:
    """Write one ``.lines.txt``, see `format_lines`."""
    text = format_lines(lines)
    with whole_or_absent(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def read_list(path: str | Path) -> list[str]:
    """Read a list file: one frame a line, relative to the data root, mostly ``/driver/clip/00000.jpg``.

    Args:
        path: The list file.

    Returns:
        The lines without surrounding white space; empty lines, which name no frame, are left out. A leading slash stays:
        `frame_path` and `lines_path` know what to do with it.

    Raises:
        UserError: The file cannot be read as text.
    """
    try:
        # Some editors put a mark at the beginning, which is no part of the first name.
        content = Path(path).read_bytes().decode("utf-8-sig")
        if "\0" in content:
            raise ValueError("no file has such a name")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"cannot read list file {path}: {reason}; give a text file with one frame a line") from error
    return [name for line in content.split("\n") if (name := line.strip())]


def write_list(path: str | Path, names: Sequence[str]) -> None:
    """Write a list file, one name a line."""
    with whole_or_absent(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def frame_path(root: str | Path, name: str) -> Path:
    """Where the frame of a list line lies; a leading slash of the line means the data root."""
    return Path(root) / name.lstrip("/")


def lines_path(root: str | Path, name: str) -> Path:
    """Where the lanes of a list line lie: the name up to its last dot, and ``.lines.txt``.

    Args:
        root: Folder of the annotations or predictions.
        name: A line of a list file.
    """
    return frame_path(root, name.rpartition(".")[0] + ".lines.txt" if "." in name else name + ".lines.txt")
