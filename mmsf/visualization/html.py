"""Parts of an HTML page that carries everything it shows."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from mmsf.errors import UserError

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def table(header: Sequence[str], rows: Iterable[Sequence[str]], main: Sequence[str] = (), html: Sequence[int] = ()) -> str:
    """Build a table; the first cell of a row is its heading, and cells of the columns ``html`` are markup already."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = []
    for first, *rest in rows:
        cells = [cell if column in html else escape(cell) for column, cell in enumerate(rest, 1)]
        mark = ' class="main"' if first in main else ""
        body.append(f'<tr{mark}><th scope="row">{escape(first)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{''.join(body)}</tbody></table>"


def details(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that opens on a click; nothing for one without rows."""
    if not rows:
        return ""
    shown = table(*without_empty(header, rows))
    return f'<details><summary>{escape(title)}</summary><div class="card">{shown}</div></details>'


def without_empty(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the columns in which nothing was measured."""
    kept = [column for column in range(len(header)) if column == 0 or any(row[column] not in ("", "–") for row in rows)]
    return [header[column] for column in kept], [[row[column] for column in kept] for row in rows]


def bar(share: float) -> str:
    """A share in [0, 1] as a figure and a bar."""
    percent = 100 * min(max(share, 0), 1)
    return f'{percent:.0f} %<span class="bar"><i style="width:{percent:.1f}%"></i></span>'


def picture(title: str, path: str | Path, alt: str, kind: str) -> str:
    """A PNG or JPEG file, carried by the page, under a caption.

    Args:
        title: The caption.
        path: The file.
        alt: What it shows.
        kind: CSS class of the figure.

    Raises:
        UserError: The file is missing, or neither PNG nor JPEG.
    """
    image = f'<img src="{_data_uri(Path(path))}" alt="{escape(alt)}" loading="lazy">'
    return f'<figure class="{kind}">{image}<figcaption>{escape(title)}</figcaption></figure>'


def _data_uri(path: Path) -> str:
    kind = _TYPES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise UserError(f"cannot put {path} into the report: it must be a PNG or JPEG file that exists")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
