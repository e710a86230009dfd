"""Lanes drawn over frames: one picture, or one panel a model beside the others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.lanes.lane import Lane

Color = tuple[int, int, int]

# BGR, told apart on asphalt, by night and with any colour vision.
PALETTE: dict[str, Color] = {
    "ground truth": (128, 222, 90),
    "float": (255, 184, 64),
    "calibrated": (48, 159, 255),
    "quantized": (168, 92, 255),
}
# Kinds of damage: OpenCV's marker (None is a ring) and its colour.
MARKS: dict[str, tuple[int | None, Color]] = {
    "bends": (cv2.MARKER_TRIANGLE_UP, (60, 240, 255)),
    "spikes": (cv2.MARKER_DIAMOND, (64, 64, 255)),
    "missing": (None, (255, 255, 255)),
    "extra": (cv2.MARKER_TILTED_CROSS, (255, 255, 80)),
}
_OTHER: Color = (0, 224, 255)
_REFERENCE: Color = (255, 255, 255)
_STRIP: Color = (29, 24, 21)
_TITLE: Color = (240, 238, 236)
_CAPTION: Color = (176, 168, 160)
_FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel.
_FARTHEST = 1e5  # Pixels; keeps a wild point inside OpenCV's 32-bit coordinates.
_GAP = 8
_STRIP_HEIGHT = 44
_LONGEST = 200  # bytes of a file's name
_NUMBERED = re.compile(r"\d{2,}_.*\.jpg")


@dataclass(frozen=True)
class Frame:
    """A frame and the lanes that several models found in it.

    Attributes:
        title: What names the frame, for example its path inside the data set.
        image: (H, W, 3) uint8, BGR.
        lanes: Panel title -> lanes in pixels of the image, in the order of the panels.
        captions: Panel title -> a few words; a panel without one tells the number of its lanes.
        marks: Panel title -> kind of damage, a key of `MARKS` -> (N, 2) points, pixels of the image.
    """

    title: str
    image: np.ndarray
    lanes: Mapping[str, Sequence[Lane | np.ndarray]]
    captions: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def draw_lanes(
    image: np.ndarray,
    lanes: Sequence[Lane | np.ndarray],
    color: Color | Sequence[Color] = PALETTE["quantized"],
    thickness: int | None = None,
    scores: bool = False,
) -> np.ndarray:
    """Draw lanes over a copy of an image, with a dark rim so that they stand out on every ground.

    Args:
        image: (H, W, 3) uint8, BGR.
        lanes: `Lane` objects or (P, 2) arrays, pixels of the image. Points that are not finite are left out.
        color: One BGR colour, or a palette that the lanes go through in turn.
        thickness: Pixels; by default a four-hundredth of the width, at least 2.
        scores: Whether each `Lane` carries its score at its lowest point in the image.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = np.ascontiguousarray(image).copy()
    thickness = thickness or max(2, round(image.shape[1] / 400))
    palette = [color] if isinstance(color[0], int) else list(color)
    drawn = [_points(lane) for lane in lanes]
    for rim in (True, False):
        for number, points in enumerate(drawn):
            if len(points) == 0:
                continue
            fixed = np.round(points * 2**_FRACTION_BITS).astype(np.int32).reshape(-1, 1, 2)
            width = thickness + 2 if rim else thickness
            paint = (24, 20, 18) if rim else palette[number % len(palette)]
            cv2.polylines(canvas, [fixed], False, paint, width, cv2.LINE_AA, _FRACTION_BITS)
    if scores:
        labels = [(points, f"{lane.score:.2f}") for points, lane in zip(drawn, lanes) if isinstance(lane, Lane)]
        canvas = _label_lowest(canvas, labels, size=max(12, image.shape[1] // 80))
    return canvas


def draw_marks(image: np.ndarray, marks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mark damage over a copy of an image: triangles bends, diamonds spikes, rings missing points, crosses extra ones.

    Args:
        image: (H, W, 3) uint8, BGR.
        marks: A key of `MARKS` -> (N, 2) points, pixels of the image.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = np.ascontiguousarray(image).copy()
    size = max(7, round(image.shape[1] / 90))
    for kind, points in marks.items():
        shape, color = MARKS[kind]
        for x, y in np.round(_points(points)).astype(int).tolist():
            for paint, width in (((24, 20, 18), 3), (color, 1)):
                if shape is None:
                    cv2.circle(canvas, (x, y), size // 3, paint, width, cv2.LINE_AA)
                else:
                    cv2.drawMarker(canvas, (x, y), paint, shape, size, width, cv2.LINE_AA)
    return canvas


def side_by_side(
    image: np.ndarray,
    panels: Mapping[str, Sequence[Lane | np.ndarray]],
    captions: Mapping[str, str] | None = None,
    reference: str = "float",
    panel_width: int | None = None,
    columns: int | None = None,
    marks: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> np.ndarray:
    """Lay one panel a model beside the others, each under a strip with its title and caption.

    Args:
        image: (H, W, 3) uint8, BGR.
        panels: Title -> lanes in pixels of the image, for example ``{"float": ..., "calibrated": ..., "quantized": ...}``
            and, where labels exist, ``"ground truth"``. Titles of `PALETTE` have their own colour.
        captions: Title -> a few words, such as ``"4 lanes, distortion 0.12"``; by default the number of lanes.
        reference: The panel whose lanes run in white below the lanes of the other models.
        panel_width: Pixels of one panel; by default the columns share 1920, and a smaller image is enlarged to at most 640.
        columns: Panels in a row; by default two where there are four, else all.
        marks: Title -> kind of damage -> points, see `draw_marks`.

    Returns:
        (H', W', 3) uint8, BGR.
    """
    if not panels:
        raise UserError("a comparison needs at least one panel of lanes")
    columns = columns or (2 if len(panels) == 4 else len(panels))
    width = panel_width or min(1920 // columns, max(image.shape[1], 640))
    scale = width / image.shape[1]
    size = (width, max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    lanes = {title: [_scaled(_points(lane), scale) for lane in group] for title, group in panels.items()}
    rows = -(-len(panels) // columns)
    height = _STRIP_HEIGHT + size[1]
    canvas = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), _STRIP, np.uint8)
    for number, title in enumerate(panels):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        color = PALETTE.get(title, _OTHER)
        # The reference lies below: a lane that stayed where it was hides it, a lane that moved leaves it in sight.
        beneath = lanes.get(reference, []) if title not in (reference, "ground truth") else []
        picture = draw_lanes(draw_lanes(small, beneath, _REFERENCE, thickness=2), lanes[title], color)
        damage = (marks or {}).get(title, {})
        picture = draw_marks(picture, {kind: _scaled(_points(points), scale) for kind, points in damage.items()})
        count = len(panels[title])
        caption = (captions or {}).get(title, "1 lane" if count == 1 else f"{count} lanes")
        canvas[top : top + _STRIP_HEIGHT, left : left + width] = _strip(title, caption, color, width)
        canvas[top + _STRIP_HEIGHT : top + height, left : left + width] = picture
    return canvas


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a BGR image as PNG or JPEG (quality 90), whole or not at all."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"cannot write {path} as a picture: use the ending .png or .jpg")
    _, data = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_overlays(folder: str | Path, frames: Iterable[Frame], **layout: int | str) -> list[tuple[str, Path]]:
    """Write one comparison a frame, as ``00_<title>.jpg`` and so on, in the order given; those of an earlier run go.

    Args:
        folder: Where the pictures go; it is made where it is missing.
        frames: The frames; an iterator is read one at a time, so long runs need no memory.
        **layout: ``reference``, ``panel_width`` and ``columns`` of `side_by_side`.

    Returns:
        The title and the file of each picture, as `mmsf.visualization.write_report` takes them.
    """
    for path in Path(folder).glob("*"):
        if path.is_file() and _NUMBERED.fullmatch(path.name):
            path.unlink()
    written = []
    for number, frame in enumerate(frames):
        path = Path(folder) / f"{number:02d}_{short_name(str(Path(frame.title).with_suffix('')))}.jpg"
        write_image(path, side_by_side(frame.image, frame.lanes, frame.captions, marks=frame.marks, **layout))
        written.append((frame.title, path))
    return written


def short_name(name: str) -> str:
    """A name or path as part of a file's name: in UTF-8, without slashes, and of a long one the end."""
    name = name.replace("/", "_").strip("_")
    return name.encode("utf-8", "replace")[-_LONGEST:].decode("utf-8", "ignore")


def _points(lane: Lane | np.ndarray) -> np.ndarray:
    points = np.asarray(lane.points if isinstance(lane, Lane) else lane, np.float64).reshape(-1, 2)
    return np.clip(points[np.isfinite(points).all(1)], -_FARTHEST, _FARTHEST)


def _scaled(points: np.ndarray, scale: float) -> np.ndarray:
    # A coordinate names the centre of a pixel, so the image's edge lies half a pixel before 0.
    return (points + 0.5) * scale - 0.5


@lru_cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _strip(title: str, caption: str, color: Color, width: int) -> np.ndarray:
    picture = Image.fromarray(np.full((_STRIP_HEIGHT, width, 3), _STRIP, np.uint8))
    pen = ImageDraw.Draw(picture)
    middle = _STRIP_HEIGHT // 2
    pen.rounded_rectangle((12, middle - 7, 26, middle + 7), 4, fill=color)
    pen.text((36, middle), title, _TITLE, _font(19, bold=True), anchor="lm")
    room = width - 36 - 36 - pen.textlength(title, _font(19, bold=True))
    while caption and pen.textlength(caption, _font(16)) > room:
        caption = caption[:-2].rstrip(" .…") + "…" if len(caption) > 2 else ""
    pen.text((width - 12, middle), caption, _CAPTION, _font(16), anchor="rm")
    return np.asarray(picture)


def _label_lowest(canvas: np.ndarray, labels: list[tuple[np.ndarray, str]], size: int) -> np.ndarray:
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    height, width = canvas.shape[:2]
    for points, text in labels:
        inside = points[((points >= 0) & (points < (width, height))).all(1)]
        if len(inside):
            x, y = inside[inside[:, 1].argmax()]
            place = (min(max(x, size * 1.5), width - size * 1.5), min(max(y, size * 2), height - 4))
            pen.text(place, text, (255, 255, 255), _font(size, bold=True), "mb", stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(picture)
