"""Figures of a run's sensitivity: curves of the heads, selection over time, losses over time.

Every figure comes from the plain data of ``sensitivity.json``::

    {"curves": {head: {"loss": [...], "score": [...], "raw_score": [...]}},
     "last_curves": the same, of the heads whose curves were measured again while tuning,
     "history": [{"iteration", "losses": {head: x}, "scores": {head: x}, "weights": {head: w}, "selected": [head, ...],
                  "algorithm1": {head: score}}],
     "iterations": of the whole run,
     "algorithm1": {head: score},
     "layers": {layer: {"4/4": score}}, "layer_shares": {layer: share of the multiply-accumulates}}

Scores are means over frames. ``algorithm1``, measured by decoding with one head quantized at a time, may be absent in a
record and for the run. So may ``layers``, the scores with a single layer quantized, the fewest bits first. Where nothing was
tuned, ``present`` holds ``losses`` and ``scores`` in place of a history and ``iterations``.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmsf.files import whole_or_absent

# Told apart on white and on black, and with any colour vision.
HEAD_COLORS = ("#2f7fd6", "#dd7a12", "#1c9c74", "#b65aa3", "#c8483c", "#7d7f1e")
# Ink of text and axes. `svg` replaces it by the colour of the text around, so that a page's dark style reaches the figure.
INK = "#20242a"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def head_colors(sensitivity: Mapping[str, Any]) -> dict[str, str]:
    """Give every head its colour, the same one in all figures of a run."""
    heads = list(sensitivity.get("curves") or {})
    for record in sensitivity.get("history") or []:
        heads += [head for head in record["losses"] if head not in heads]
    return {head: HEAD_COLORS[number % len(HEAD_COLORS)] for number, head in enumerate(heads)}


def exact_scores(sensitivity: Mapping[str, Any]) -> dict[str, float]:
    """The run's scores by Algorithm 1: those of the whole run, else the last ones measured, else none."""
    records = [record["algorithm1"] for record in sensitivity.get("history") or [] if record.get("algorithm1")]
    return dict(sensitivity.get("algorithm1") or (records[-1] if records else {}))


@matplotlib.rc_context(STYLE)
def curves_figure(sensitivity: Mapping[str, Any]) -> Figure:
    """Draw noise -> lane distortion, one curve a head, with the losses before and after tuning marked on it.

    Args:
        sensitivity: The data of the module's docstring; needs ``curves``. Dots are the raw Monte-Carlo scores, the line is
            the curve that is queried, dashed where it was measured again while tuning; where there is a ``history``, a ring
            marks the head's first loss, a disc its last.

    Source: the paper's Figure 4, right.
    """
    colors, history = head_colors(sensitivity), sensitivity.get("history") or []
    present = sensitivity.get("present") or (history[0] if history else None)
    marks = [(record, face) for record, face in ((present, "none"), (history[-1] if history else None, None)) if record]
    scores = []
    figure, (axes,) = _figure(1, height=3.9)
    for head, curve in sensitivity["curves"].items():
        axes.plot(curve["loss"], curve["score"], color=colors[head], label=_plain(head))
        scores += list(curve["score"])
        if again := (sensitivity.get("last_curves") or {}).get(head):
            axes.plot(again["loss"], again["score"], "--", color=colors[head], linewidth=1.2)
            scores += list(again["score"])
        if "raw_score" in curve:
            axes.plot(curve["loss"], curve["raw_score"], ".", color=colors[head], alpha=0.45, markersize=6)
        for record, face in marks:
            if head in record["losses"] and head in record["scores"]:
                place = ([record["losses"][head]], [record["scores"][head]])
                axes.plot(
                    *place,
                    "o",
                    color=colors[head],
                    markerfacecolor=face or colors[head],
                    markersize=8,
                    markeredgewidth=1.8,
                    zorder=3,
                )
    axes.set(xscale="log", xlabel="loss of the head under noise", ylabel="Lane Distortion Score")
    positive = [score for score in scores if score > 0]
    if positive and max(positive) > 100 * min(positive):
        axes.set_yscale("log")
    axes.legend(loc="upper left")
    return figure


@matplotlib.rc_context(STYLE)
def timeline_figure(sensitivity: Mapping[str, Any]) -> Figure:
    """Draw each head's score over the iterations and, below, how strongly the loss focused on it.

    Args:
        sensitivity: The data of the module's docstring; needs ``history`` and ``iterations``. Dots are scores by Algorithm 1
            where they were measured; a bar's strength is the head's weight relative to the largest of the run.
    """
    colors, history = head_colors(sensitivity), sensitivity["history"]
    figure, (above, below) = _figure(2, height=4.6, ratios=(3, 1 + 0.25 * len(colors)))
    iterations = [record["iteration"] for record in history]
    for head, color in colors.items():
        above.plot(iterations, _series(history, "scores", head), color=color, label=_plain(head), drawstyle="steps-post")
        above.plot(iterations, _series(history, "algorithm1", head), "o", color=color, markersize=4)
    above.set(ylabel="Lane Distortion Score")
    _legend(figure, above)
    above.tick_params(labelbottom=False)

    # The last record may stand at the end of the run, where nothing follows that it selects for.
    ends = [*iterations[1:], sensitivity["iterations"]]
    weights = {head: np.nan_to_num(_series(history, "weights", head)) for head in colors}
    largest = max((series.max() for series in weights.values()), default=0.0) or 1.0
    for row, (head, color) in enumerate(colors.items()):
        for start, stop, weight in _runs(iterations, ends, weights[head] / largest):
            below.broken_barh([(start, stop - start)], (row - 0.38, 0.76), facecolor=color, alpha=weight, linewidth=0)
    below.set(
        yticks=range(len(colors)),
        yticklabels=[_plain(head) for head in colors],
        ylim=(len(colors) - 0.5, -0.5),
        xlabel="iteration",
    )
    below.set_ylabel("selection")
    below.grid(visible=False)
    for axes in (above, below):
        axes.set_xlim(iterations[0], max(ends[-1], iterations[0] + 1))
    return figure


@matplotlib.rc_context(STYLE)
def losses_figure(sensitivity: Mapping[str, Any]) -> Figure:
    """Draw each head's loss over the iterations. ``sensitivity`` needs ``history``."""
    history = sensitivity["history"]
    figure, (axes,) = _figure(1, height=3.2)
    positive = False
    for head, color in head_colors(sensitivity).items():
        losses = _series(history, "losses", head)
        positive = positive or bool(np.nanmax(losses, initial=0.0) > 0)
        axes.plot([record["iteration"] for record in history], losses, color=color, label=_plain(head))
    axes.set(xlabel="iteration", ylabel="loss of the head")
    if positive:
        axes.set_yscale("log")
    _legend(figure, axes)
    return figure


@matplotlib.rc_context(STYLE)
def layers_figure(sensitivity: Mapping[str, Any], most: int = 25) -> Figure:
    """Draw the layers that move the lanes most when they alone are quantized, and what they weigh.

    Args:
        sensitivity: The data of the module's docstring; needs ``layers``; ``layer_shares`` may be absent.
        most: Layers to draw.
    """
    ranked = ranked_layers(sensitivity)[:most]
    shares = sensitivity.get("layer_shares") or {}
    columns = {"Lane Distortion Score of a frame": [score for _, score, _ in ranked]}
    if shares:
        columns["multiply-accumulates, %"] = [100 * shares.get(name, 0.0) for name, _, _ in ranked]
    figure = Figure(figsize=(9.0, 0.9 + 0.24 * len(ranked)), layout="constrained")
    grid = figure.subplots(1, len(columns), sharey=True, squeeze=False, width_ratios=(3, 2)[: len(columns)])[0]
    places = np.arange(len(ranked))
    for axes, (label, values), color in zip(grid, columns.items(), (HEAD_COLORS[0], "#8a929b")):
        bars = axes.barh(places, values, height=0.7, color=color)
        axes.bar_label(bars, [f"{value:.3g}" if value >= 1e-4 else "0" for value in values], padding=3, fontsize=8)
        axes.set(xlim=(0, 1.18 * max(*values, 1e-9)), xlabel=label)
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
    higher = [(score, place) for place, (_, _, others) in enumerate(ranked) for score in others]
    if higher:
        grid[0].plot(*zip(*higher), "|", color=HEAD_COLORS[1], markersize=9, markeredgewidth=2)
    grid[0].set(yticks=places, yticklabels=[_plain(name) for name, _, _ in ranked], ylim=(len(ranked) - 0.4, -0.6))
    return figure


def ranked_layers(sensitivity: Mapping[str, Any]) -> list[tuple[str, float, list[float]]]:
    """Layers by their score at the fewest bits, the highest first: name, that score, scores at more bits."""
    layers = [(name, *own.values()) for name, own in (sensitivity.get("layers") or {}).items()]
    return [(name, score, others) for name, score, *others in sorted(layers, key=lambda layer: -layer[1])]


def figures(sensitivity: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures that the data allows, by name: ``curves``, ``selection``, ``losses``, ``layers``."""
    made = {}
    if sensitivity.get("curves"):
        made["curves"] = curves_figure(sensitivity)
    if sensitivity.get("history"):
        made["selection"] = timeline_figure(sensitivity)
        made["losses"] = losses_figure(sensitivity)
    if sensitivity.get("layers"):
        made["layers"] = layers_figure(sensitivity)
    return made


def write_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure as the ending of ``path`` says (PNG, SVG, PDF), on white, whole or not at all."""
    with matplotlib.rc_context(STYLE), whole_or_absent(path) as temporary:
        figure.savefig(temporary, dpi=150, facecolor="white")


def svg(figure: Figure, name: str) -> str:
    """Give a figure as an ``<svg>`` element for an HTML page; its text takes the page's colour and its ``--font``.

    Args:
        figure: The figure.
        name: Unique in the page; the identifiers inside the element are made from it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace("'DejaVu Sans'", "var(--font, sans-serif)")
    # Names of groups ("axes_1") repeat from figure to figure; only hashed identifiers are referred to.
    return re.sub(r' id="[\w.]+_\d+"', "", text)


def _figure(rows: int, height: float, ratios: Sequence[float] = (1,)) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.6, height), layout="constrained")
    grid = figure.subplots(rows, 1, squeeze=False, gridspec_kw={"height_ratios": ratios})
    for axes in grid[:, 0]:
        axes.grid(visible=True)
        axes.set_axisbelow(True)
    return figure, list(grid[:, 0])


def _legend(figure: Figure, axes: Axes) -> None:
    """Name the heads above the axes, where no curve can run."""
    heads = axes.get_legend_handles_labels()
    figure.legend(*heads, loc="outside upper center", ncols=min(4, len(heads[0])))


def _plain(name: str) -> str:
    """The name of a head or layer as text of a figure: two dollar signs would be a formula."""
    return name.replace("$", r"\$")


def _series(history: Sequence[Mapping[str, Any]], key: str, head: str) -> np.ndarray:
    return np.array([(record.get(key) or {}).get(head, np.nan) for record in history], np.float64)


def _runs(starts: Sequence[float], ends: Sequence[float], values: np.ndarray) -> list[tuple[float, float, float]]:
    """Join neighbours of equal value: (start, end, value), those of value 0 or no length left out."""
    runs: list[tuple[float, float, float]] = []
    for start, end, value in zip(starts, ends, values.tolist()):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], end, value)
        else:
            runs.append((start, end, value))
    return [run for run in runs if run[2] > 0 and run[1] > run[0]]
