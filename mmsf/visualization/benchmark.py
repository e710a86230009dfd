"""A benchmark at a glance: F1 of every detector and method, or over the effort of tuning."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

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
                    linestyle=("-", "--")[number // len(HEAD_COLORS) % 2],
                    markersize=5,
                    linewidth=1.2,
                    label=name,
                )
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
        every = [point for points in lines.values() for point in points]
        passes, minutes = ([point[axis] for point in every if point[axis] > 0] or [1.0] for axis in (0, 1))
        row[0].set_xscale("symlog", linthresh=min(passes), linscale=0.5)
        _name_round_numbers(row[0], passes, [0.0])
        # Methods may be a few points apart, so the axis ends where they do.
        row[0].set(ylim=(min(f1 for _, _, f1, _ in every) - 3, max(f1 for _, _, f1, _ in every) + 3))
        row[0].set(ylabel=f"{title}\nF1, percent", xlabel="sample passes of tuning", xlim=(-0.1 * min(passes), None))
        row[1].set_xscale("log")
        _name_round_numbers(row[1], minutes)
        row[1].set(xlabel="minutes of quantization")
    figure.legend(*_all_labels(panels), loc="outside upper center", ncols=min(4, len(methods)))
    return figure


def round_numbers(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from ``least`` to ``most``, ascending."""
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    # Divided by a whole number where the exponent is negative: 2 / 10 is 0.2, which 2 * 10**-1 need not be.
    found = [factor * 10**n if n >= 0 else factor / 10**-n for n in exponents for factor in (1, 2, 5)]
    return [float(x) for x in found if least <= x <= most]


def _name_round_numbers(axes: Axes, values: Sequence[float], further: Sequence[float] = ()) -> None:
    ticks = [*further, *(round_numbers(min(values), max(values)) or [min(values)])]
    axes.set_xticks(ticks, [f"{x:,g}" for x in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _all_labels(panels) -> tuple[list, list]:
    """Handles and labels of all panels on the left, each label once."""
    found = {}
    for axes in panels[:, 0]:
        found.update((label, handle) for handle, label in zip(*axes.get_legend_handles_labels()))
    return list(found.values()), list(found)
