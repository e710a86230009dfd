"""A benchmark at a glance: F1 of every detector and method, or over the effort of tuning."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from mmsf.visualization.sensitivity import HEAD_COLORS, STYLE

_MARKERS = "osD^vP*Xph<>d"


@matplotlib.rc_context(STYLE)
def f1_figure(f1: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> Figure:
    """Draw a panel for each of the bits: detectors across, a dot with its standard error for each method.

    Args:
        f1: Bits -> method -> detector -> F1 and its standard error, percent. A method "float" is drawn as a line.
    """
    detectors = list(dict.fromkeys(name for rows in f1.values() for row in rows.values() for name in row))
    methods = list(dict.fromkeys(name for rows in f1.values() for name, row in rows.items() if row and name != "float"))
    width = max(6.0, 1.2 + len(detectors) * (0.5 + 0.16 * len(methods)))
    figure = Figure(figsize=(width, 0.8 + 2.6 * len(f1)), layout="constrained")
    panels = figure.subplots(len(f1), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (bits, rows) in zip(panels, f1.items()):
        for number, method in enumerate(methods):
            row = rows.get(method, {})
            shift = (number + 0.5) / len(methods) * 0.8 - 0.4
            axes.errorbar(
                [detectors.index(name) + shift for name in row],
                [value for value, _ in row.values()],
                [error for _, error in row.values()],
                fmt=_MARKERS[number % len(_MARKERS)],
                color=HEAD_COLORS[number % len(HEAD_COLORS)],
                markersize=5,
                linewidth=1.2,
                label=method,
            )
        for name, (value, _) in rows.get("float", {}).items():
            place = detectors.index(name)
            axes.hlines(value, place - 0.42, place + 0.42, linewidth=1.2, linestyle=":", color=STYLE["text.color"])
        axes.set(ylabel=f"{bits}\nF1, percent", ylim=(-3, 103), xlim=(-0.5, len(detectors) - 0.5))
        axes.set_xticks(range(len(detectors)), detectors)
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(4, len(methods)))
    return figure


@matplotlib.rc_context(STYLE)
def curve_figure(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]]) -> Figure:
    """Draw two panels a row: F1 over sample passes and over minutes, a line for each method with a dot at every run.

    Args:
        curves: Title of the row -> method -> sample passes, minutes, F1 and its standard error (percent) of each run, the
            calibrated model, without passes, first. A method "float" is drawn as a line across.
    """
    methods = list(dict.fromkeys(name for rows in curves.values() for name in rows if name != "float"))
    figure = Figure(figsize=(10.0, 0.8 + 3.2 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 2, squeeze=False, sharey="row")
    for row, (title, lines) in zip(panels, curves.items()):
        for axes, axis in zip(row, (0, 1)):
            for name, points in lines.items():
                x, f1, errors = ([point[index] for point in points] for index in (axis, 2, 3))
                if name == "float":
                    axes.axhline(f1[0], linewidth=1.2, linestyle=":", color=STYLE["text.color"])
                    continue
                number = methods.index(name)
                axes.errorbar(
                    x,
                    f1,
                    errors,
                    marker=_MARKERS[number % len(_MARKERS)],
                    color=HEAD_COLORS[number % len(HEAD_COLORS)],
                    markersize=5,
                    linewidth=1.2,
                    label=name,
                )
            axes.set(ylim=(-3, 103))
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
        least = min((point[0] for points in lines.values() for point in points if point[0] > 0), default=1.0)
        row[0].set_xscale("symlog", linthresh=least, linscale=0.5)
        most = max(point[0] for points in lines.values() for point in points)
        decades = [10.0**n for n in range(8) if least <= 10**n <= most]
        row[0].set_xticks([0, *(decades or [least])], ["0", *(f"{x:,g}" for x in decades or [least])])
        row[0].set(ylabel=f"{title}\nF1, percent", xlabel="sample passes of tuning", xlim=(-0.1 * least, None))
        row[1].set_xscale("log")
        row[1].xaxis.set_major_formatter("{x:g}")
        row[1].set(xlabel="minutes of quantization")
    figure.legend(*_all_labels(panels), loc="outside upper center", ncols=min(4, len(methods)))
    return figure


def _all_labels(panels) -> tuple[list, list]:
    """Handles and labels of all panels on the left, each label once."""
    found = {}
    for axes in panels[:, 0]:
        found.update((label, handle) for handle, label in zip(*axes.get_legend_handles_labels()))
    return list(found.values()), list(found)
