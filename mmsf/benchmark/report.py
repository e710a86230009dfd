"""What a benchmark leaves: table.md, cells.csv, cells.json, plot.png."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from mmsf.benchmark.cell import Run
from mmsf.benchmark.curves import curves_of
from mmsf.benchmark.grid import Grid
from mmsf.benchmark.results import group_of, record_of
from mmsf.benchmark.tables import Groups, markdown
from mmsf.files import whole_or_absent
from mmsf.visualization import write_figure
from mmsf.visualization.benchmark import curve_figure, f1_figure


def write_tables(folder: str | Path, grid: Grid, runs: Sequence[Run]) -> str:
    """Write all files, each whole or not at all.

    Args:
        folder: Where to.
        grid: Rows and columns.
        runs: Runs of the grid, finished or not.

    Returns:
        The text of ``table.md``.

    Raises:
        UserError: Runs that belong side by side were evaluated on different frames.
    """
    folder = Path(folder)
    together: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.finished():
            together.setdefault((run.cell.detector.name, run.cell.bits), []).append(run)
    groups: Groups = {key: group_of(members) for key, members in together.items()}
    errors = {run: error for group in groups.values() for run, error in group.cell_errors.items()}
    records = [record_of(run, grid.table, errors.get(run)) for run in runs]
    failed = [(run.cell.title, record["error"]) for run, record in zip(runs, records) if record["status"] == "failed"]
    text = markdown(grid, groups, failed)
    _write(folder / "table.md", text)
    _write(folder / "cells.json", json.dumps(_content(grid, groups, records), indent=1) + "\n")
    with whole_or_absent(folder / "cells.csv") as temporary, open(temporary, "w", newline="") as file:
        # Not every run has the same phases and metrics.
        writer = csv.DictWriter(file, list(dict.fromkeys(key for record in records for key in record)))
        writer.writeheader()
        writer.writerows(records)
    if curves := _curves(grid, groups):
        write_figure(folder / "plot.png", curve_figure(curves))
    elif groups:
        write_figure(folder / "plot.png", f1_figure(_plotted(grid, groups)))
    return text


def _content(grid: Grid, groups: Groups, records: Sequence[dict]) -> dict:
    """``cells.json``: every run, then the means over seeds, then methods against each other."""
    means, differences = [], []
    for (detector, bits), group in groups.items():
        place = {"detector": detector, "bits": bits}
        for method, f1 in group.f1.items():
            means.append(
                {
                    **place,
                    "method": method,
                    "seeds": group.seeds[method],
                    "float_f1": group.float_f1.as_dict(),
                    "f1": f1.as_dict(),
                    "minus_float": group.to_float[method].as_dict(),
                    "minutes": group.minutes[method],
                    "sample_passes": group.passes[method],
                }
            )
        for (method, other), difference in group.differences.items():
            differences.append({**place, "method": method, "other": other, "f1_difference": difference.as_dict()})
    return {"title": grid.title, "table": grid.table, "cells": list(records), "means": means, "differences": differences}


def _plotted(grid: Grid, groups: Groups) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Bits -> title of the method -> title of the detector -> F1 and its standard error, percent."""
    plotted: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for bits in grid.bits:
        rows = {"float": {}, **{method.title: {} for method in grid.methods}}
        for detector in grid.detectors:
            group = groups.get((detector.name, bits))
            if group is None:
                continue
            rows["float"][detector.title] = (100 * group.float_f1.value, 100 * group.float_f1.error)
            for method in grid.methods:
                if f1 := group.f1.get(method.name):
                    rows[method.title][detector.title] = (100 * f1.value, 100 * f1.error)
        plotted[bits.upper()] = rows
    return plotted


def _curves(grid: Grid, groups: Groups) -> dict[str, dict[str, list[tuple[float, float, float, float]]]]:
    """Detector and bits -> title of the curve -> passes, minutes, F1 and its standard error, percent, the start first."""
    drawn: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for group in groups.values():
        if curves := curves_of(grid, group):
            panel = drawn[f"{group.detector.title}, {group.bits.upper()}"] = {}
            for curve in curves:
                points = (curve.start, *curve.points) if curve.tuned else curve.points
                panel[curve.title] = [(p.passes, p.minutes, 100 * p.f1.value, 100 * p.f1.error) for p in points]
            f1 = group.float_f1
            panel["float"] = [(0.0, 0.0, 100 * f1.value, 100 * f1.error)]
    return drawn


def _write(path: Path, text: str) -> None:
    with whole_or_absent(path) as temporary:
        temporary.write_text(text)
