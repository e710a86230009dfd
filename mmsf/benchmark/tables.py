"""A benchmark's results as Markdown tables in the layout of the paper's Table 1."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsf.benchmark import paper
from mmsf.benchmark.curves import AXES, curves_of, efforts
from mmsf.benchmark.grid import Detector, Grid, Method
from mmsf.benchmark.results import Estimate, Group, paper_figure_of

Groups = dict[tuple[str, str], Group]
"""(detector, bits) -> the finished runs."""


_AT_EQUAL = (
    "Interpolated between runs of several lengths, each tuned to its own end, linearly in the logarithm of the effort; – is "
    "more than 10 % outside of what was run. A method that tunes nothing has the same F1 from its own minutes on."
)
_MEASURED = {
    "passes": "A sample pass is a forward pass of the whole quantized network on one frame, in tuning.",
    "minutes": "Minutes are wall time of quantization on the machine that ran it, evaluation not counted.",
}


def markdown(grid: Grid, groups: Groups, failed: Sequence[tuple[str, str]]) -> str:
    """The whole ``table.md``, of the bits that something is finished at.

    Args:
        grid: What was asked for.
        groups: What is finished.
        failed: (cell, error) of the runs that failed.
    """
    run = tuple(bits for bits in grid.bits if any((detector.name, bits) in groups for detector in grid.detectors))
    grid = replace(grid, bits=run or grid.bits)
    parts = [f"# {grid.title}", *([grid.note] if grid.note else []), _legend(grid, groups), f1_table(grid, groups)]
    for axis, words in AXES.items():
        if table := effort_table(grid, groups, axis):
            parts += [f"## F1 at equal {words}", f"{_AT_EQUAL} {_MEASURED[axis]}", table]
    parts += ["## F1 minus the float model's", to_float_table(grid, groups)]
    if best := differences_table(grid, groups):
        parts += ["## Best minus second best", best]
    parts += ["## Minutes of quantization, evaluation not counted", minutes_table(grid, groups)]
    if failed:
        parts += ["## Failed", "\n".join(f"- {cell}: {error}" for cell, error in failed)]
    return "\n\n".join(parts) + "\n"


def _legend(grid: Grid, groups: Groups) -> str:
    if not groups:
        return "No run is finished."
    frames = sorted({group.frames for group in groups.values()})
    seeds = sorted({count for group in groups.values() for count in group.seeds.values()})
    text = (
        f"F1 in percent on {_range(frames)} frames, mean over seeds ({_range(seeds)} of each method), ± standard error over "
        "frames (paired bootstrap) and seeds. Bold: the best of the column at these bits."
    )
    beside = f" In brackets: the figures of the paper's Table {grid.table}, which are of CULane"
    if any(map(_paper_network, grid.detectors)):
        beside += ", and above them the paper's network where it is another than ours"
    return text if grid.table is None else f"{text}{beside}."


def _paper_network(detector: Detector) -> str | None:
    """The paper's network where it is another than the detector."""
    return None if detector.paper == detector.title else detector.paper


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def f1_table(grid: Grid, groups: Groups) -> str:
    """Bits and methods down, detectors across, the float models on top."""
    top = [*paper.FULL_PRECISION]
    for detector in grid.detectors:
        figure = paper_figure_of(grid.table, "", None, detector)
        found = [groups[detector.name, bits].float_f1 for bits in grid.bits if (detector.name, bits) in groups]
        top.append(_entry(found[0] if found else None, None if figure is None else figure.f1))

    def entry(method: Method, bits: str, detector: Detector) -> str:
        figure = paper_figure_of(grid.table, bits, method, detector)
        f1 = _f1(groups, bits, detector)
        shown = {name: f"{100 * estimate.value:.2f}" for name, estimate in f1.items()}
        best = max((float(value) for value in shown.values()), default=None)
        is_best = method.name in shown and float(shown[method.name]) == best
        return _entry(f1.get(method.name), None if figure is None else figure.f1, is_best)

    return _table(grid, entry, [top], beside=True)


def to_float_table(grid: Grid, groups: Groups) -> str:
    """As `f1_table`: what quantization costs, percent."""

    def entry(method: Method, bits: str, detector: Detector) -> str:
        group = groups.get((detector.name, bits))
        return _entry(None if group is None else group.to_float.get(method.name))

    return _table(grid, entry)


def minutes_table(grid: Grid, groups: Groups) -> str:
    """As `f1_table`, with minutes; the paper's in brackets."""

    def entry(method: Method, bits: str, detector: Detector) -> str:
        group = groups.get((detector.name, bits))
        minutes = None if group is None else group.minutes.get(method.name)
        figure = paper_figure_of(grid.table, bits, method, detector)
        beside = f" ({figure.minutes:g})" if figure is not None and figure.minutes is not None else ""
        return ("–" if minutes is None else f"{minutes:.1f}") + beside

    return _table(grid, entry, beside=grid.table in paper.WITH_MINUTES)


def effort_table(grid: Grid, groups: Groups, axis: str) -> str:
    """Curves down, round efforts across, a block for each detector and bits; empty where the grid has no curve.

    Args:
        grid: Rows.
        groups: What is finished.
        axis: One of ``AXES``.
    """
    curves = {key: curves_of(grid, group) for key, group in groups.items()}
    columns = {key: efforts(found, axis) for key, found in curves.items()}
    across = sorted({effort for found in columns.values() for effort in found})
    rows = []
    for (_, bits), group in groups.items():
        key = group.detector.name, bits
        block = [[curve.at(axis, x) if x in columns[key] else None for x in across] for curve in curves[key]]
        best = [max((round(100 * e.value, 2) for e in column if e is not None), default=None) for column in zip(*block)]
        for curve, estimates in zip(curves[key], block):
            bold = [e is not None and round(100 * e.value, 2) == top for e, top in zip(estimates, best)]
            entries = [_entry(estimate, best=is_best) for estimate, is_best in zip(estimates, bold)]
            rows.append([bits.upper(), group.detector.title, curve.title, *entries])
    return _lines([["Bits", "Detector", "Method", *(f"{x:,g}" for x in across)], *rows], words=3) if across else ""


def differences_table(grid: Grid, groups: Groups) -> str:
    """Of each detector and bits: by how much the best method leads the second, percent; empty where none has two."""
    rows = []
    for bits in grid.bits:
        for detector in grid.detectors:
            f1 = _f1(groups, bits, detector)
            if len(f1) < 2:
                continue
            first, second = sorted(f1, key=lambda name: -f1[name].value)[:2]
            difference = difference_of(groups[detector.name, bits], first, second)
            titles = {method.name: method.title for method in grid.methods}
            rows.append([bits.upper(), detector.title, titles[first], titles[second], _entry(difference)])
    return _lines([["Bits", "Detector", "Best", "Second", "Difference"], *rows], words=4) if rows else ""


def difference_of(group: Group, one: str, other: str) -> Estimate:
    """F1 of a method minus F1 of another, whichever of the two the group has first."""
    if (one, other) in group.differences:
        return group.differences[one, other]
    turned = group.differences[other, one]
    return Estimate(-turned.value, turned.frames_error, turned.seeds_error)


def _f1(groups: Groups, bits: str, detector: Detector) -> dict[str, Estimate]:
    group = groups.get((detector.name, bits))
    return {} if group is None else group.f1


def _entry(estimate: Estimate | None, beside: float | None = None, best: bool = False) -> str:
    if estimate is None:
        text = "–"
    else:
        value = f"{100 * estimate.value:.2f}"
        text = f"{f'**{value}**' if best else value} ± {100 * estimate.error:.2f}"
    return text if beside is None else f"{text} ({beside:.2f})"


def _table(
    grid: Grid, entry: Callable[[Method, str, Detector], str], top: Sequence[list[str]] = (), beside: bool = False
) -> str:
    headings = []
    for detector in grid.detectors:
        network = _paper_network(detector) if beside and grid.table is not None else None
        headings.append(detector.title if network is None else f"{detector.title} ({network})")
    rows = [["Bits", "Method", *headings], *top]
    for bits in grid.bits:
        for method in grid.methods:
            rows.append([bits.upper(), method.title, *(entry(method, bits, detector) for detector in grid.detectors)])
    return _lines(rows, words=2)


def _lines(rows: Sequence[Sequence[str]], words: int) -> str:
    """A Markdown table whose first columns are words and the others figures."""
    rule = [":--" if column < words else "--:" for column in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
