"""Foreground maps: where in a head noise moves lanes, laid over the frame."""

from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mmsf.lanes.lane import Lane
from mmsf.visualization.sensitivity import INK, STYLE

_COLORS = matplotlib.colormaps["inferno"]
_FAINTEST = 0.25  # of the colours, so that a small score still differs from the dark frame
_WIDEST = 1024  # pixels of a frame inside a figure
_SCORE = "Lane Distortion Score"


@matplotlib.rc_context(STYLE)
def foreground_figure(
    image: np.ndarray,
    scores: np.ndarray,
    confidence: np.ndarray,
    title: str,
    places: Sequence[int],
    block: int = 1,
    seen_from: float = 0.0,
    lanes: Sequence[Lane | np.ndarray] = (),
    candidates: Sequence[Sequence[Lane | np.ndarray]] | None = None,
) -> Figure:
    """Draw how far lanes move when one block of a head's places is disturbed, each by the same noise.

    Maps of cells are laid over the frame; of the maps of several candidates, every cell shows the largest score. Candidates
    in a row are bars, their confidence below; where they stand for lanes, these are drawn over the frame in their colours.

    Args:
        image: (H, W, 3) uint8, BGR, the whole frame.
        scores: (h', w') or (K, h', w') blocks of cells, or (N',) blocks of candidates.
        confidence: The same shape, in [0, 1].
        title: What the figure shows.
        places: Shape of the places: (h, w), (K, h, w) or (N,).
        block: Places on the side of a block.
        seen_from: Share of the frame's height, from its top, that the network does not see.
        lanes: The float model's lanes, pixels of the frame; thin lines.
        candidates: For each of N candidates the lanes that it stands for, none or one.

    Source: the paper's Figure 4, left.
    """
    norm = Normalize(0, max(float(scores.max(initial=0.0)), 1e-12))
    if scores.ndim > 1:
        figure = Figure(figsize=(9.0, 3.5), layout="constrained")
        axes = figure.subplots()
        _frame(axes, image, lanes)
        _lay_over(axes, image, scores.reshape(-1, *scores.shape[-2:]).max(0), norm, places[-2:], block, seen_from)
    else:
        figure = Figure(figsize=(9.0, 5.2), layout="constrained")
        axes, bars, below = figure.subplots(3, 1, height_ratios=(3.6, 1, 0.6))
        below.sharex(bars)
        _frame(axes, image, () if candidates else lanes)
        if candidates is not None:
            _draw_candidates(axes, image, np.repeat(scores, block), norm, candidates)
        _bars(bars, below, scores, confidence, norm, block)
    # A file may have any name.
    title = title.encode("utf-8", "replace").decode()
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    figure.colorbar(ScalarMappable(norm, _shown_colors()), ax=axes, label=_SCORE, pad=0.01, aspect=16)
    return figure


def _shown_colors() -> matplotlib.colors.Colormap:
    return matplotlib.colors.ListedColormap(_COLORS(np.linspace(_FAINTEST, 1, 256)))


def _frame(axes: Axes, image: np.ndarray, lanes: Sequence[Lane | np.ndarray]) -> None:
    """The frame, dark and grey, so that colours mean scores only; lanes as thin lines."""
    height, width = image.shape[:2]
    scale = min(1.0, _WIDEST / width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY) * 0.7
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    for lane in lanes:
        axes.plot(
            *np.asarray(getattr(lane, "points", lane)).T, color="white", linewidth=0.8, linestyle=(0, (4, 3)), zorder=3
        )
    axes.set(xlim=(0, width), ylim=(height, 0), xlabel="", ylabel="")
    axes.set_axis_off()


def _lay_over(
    axes: Axes,
    image: np.ndarray,
    scores: np.ndarray,
    norm: Normalize,
    places: Sequence[int],
    block: int,
    seen_from: float,
) -> None:
    height, width = image.shape[:2]
    top = height * seen_from
    # The last block of a row or column may reach beyond the map.
    right = width * scores.shape[1] * block / places[1]
    bottom = top + (height - top) * scores.shape[0] * block / places[0]
    share = norm(scores).filled(0.0)
    colors = _shown_colors()(share)
    colors[..., 3] = np.where(scores > 0, 0.35 + 0.5 * np.sqrt(share), 0.0)
    axes.imshow(colors, extent=(0, right, bottom, top), interpolation="nearest", zorder=2)
    if top:
        axes.axhline(top, color="white", linewidth=0.8, alpha=0.6)
        axes.text(width * 0.005, top - height * 0.012, "not seen by the network above this line", color="white", fontsize=8)
    axes.set(xlim=(0, width), ylim=(height, 0))


def _draw_candidates(
    axes: Axes, image: np.ndarray, scores: np.ndarray, norm: Normalize, candidates: Sequence[Sequence[Lane | np.ndarray]]
) -> None:
    lines, values = [], []
    # The most sensitive ones last, so that they lie on top.
    for number in np.argsort(scores[: len(candidates)], kind="stable"):
        for lane in candidates[number]:
            lines.append(np.asarray(getattr(lane, "points", lane)))
            values.append(scores[number])
    moves = np.array(values) > 0
    # Candidates that move nothing are faint and white.
    colors = np.where(moves[:, None], _shown_colors()(norm(np.array(values)).filled(0.0)), (1.0, 1.0, 1.0, 0.25))
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=np.where(moves, 2.5, 0.6)))


def _bars(above: Axes, below: Axes, scores: np.ndarray, confidence: np.ndarray, norm: Normalize, block: int) -> None:
    numbers = np.arange(len(scores)) * block + (block - 1) / 2
    above.bar(
        numbers, scores, width=0.8 * block, color=_shown_colors()(norm(scores).filled(0.0)), edgecolor=INK, linewidth=0.4
    )
    above.set(ylabel="distortion")
    above.tick_params(labelbottom=False)
    below.bar(numbers, confidence, width=0.8 * block, color="#7d8793")
    below.set(ylabel="confidence", ylim=(0, 1), xlabel="candidate")
    if len(scores) * block <= 25:
        below.set_xticks(np.arange(len(scores)))
    for axes in (above, below):
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
