"""F1 over the effort of tuning: a method's runs of several lengths as a curve, and methods at equal effort."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmsf.benchmark.grid import Grid
from mmsf.benchmark.results import Estimate, Group
from mmsf.visualization.benchmark import round_numbers

AXES = {"passes": "sample passes", "minutes": "minutes"}
# A run counts for efforts that differ from its own by this share: matrix products belong to no block, so that methods which
# tune block after block make up to 8 % fewer passes than others with as many iterations.
NEAR = 0.1


@dataclass(frozen=True)
class Point:
    """What one length of tuning has come to, mean over seeds.

    Attributes:
        f1: F1 of the quantized model.
        passes: Sample passes of tuning.
        minutes: Minutes of quantization, evaluation not counted.
    """

    f1: Estimate
    passes: float
    minutes: float


@dataclass(frozen=True)
class Curve:
    """The runs of a method, each of its own length from the calibrated model to its own end.

    Attributes:
        title: Of the curve.
        start: The calibrated model; its F1 has no standard error.
        points: At least one, in the order of their passes.
    """

    title: str
    start: Point
    points: tuple[Point, ...]

    @property
    def tuned(self) -> bool:
        """Whether it tunes at all; if not, more effort changes nothing."""
        return self.points[-1].passes > 0

    def span(self, axis: str) -> tuple[float, float]:
        """The least and the most effort for which its F1 is known, a little beyond the runs at either end."""
        efforts = [getattr(point, axis) for point in self.points]
        return min(efforts) / (1 + NEAR), max(efforts) * (1 + NEAR) if self.tuned else math.inf

    def at(self, axis: str, effort: float) -> Estimate | None:
        """F1 at an effort, linear in its logarithm between two runs; None outside of the `span`.

        The standard error is interpolated too, as if both runs erred together: rather too large than too small.

        Args:
            axis: One of ``AXES``.
            effort: Sample passes or minutes.
        """
        least, most = self.span(axis)
        if not least <= effort <= most:
            return None
        points = sorted(self.points, key=lambda point: getattr(point, axis))
        after = next((i for i, point in enumerate(points) if getattr(point, axis) >= effort), len(points) - 1)
        right = points[after]
        if after == 0 or getattr(right, axis) <= effort:
            return right.f1
        left = points[after - 1]
        begin, end = (math.log(getattr(point, axis)) for point in (left, right))
        share = (math.log(effort) - begin) / (end - begin)
        mixed = ((1 - share) * getattr(left.f1, key) + share * getattr(right.f1, key) for key in _PARTS)
        return Estimate(*mixed)


_PARTS = ("value", "frames_error", "seeds_error")


def curves_of(grid: Grid, group: Group) -> list[Curve]:
    """The curves of a detector at the same bits; empty where no method of the grid is a point of one."""
    members: dict[str, list[str]] = {}
    for method in grid.methods:
        if method.curve and method.name in group.f1:
            members.setdefault(method.curve, []).append(method.name)
    curves = []
    for title, names in members.items():
        points = [Point(group.f1[name], group.passes[name], group.minutes[name]) for name in names]
        starts = [group.starts[name] for name in names]
        f1, minutes = (sum(values) / len(values) for values in zip(*starts))
        ordered = tuple(sorted(points, key=lambda point: point.passes))
        curves.append(Curve(title, Point(Estimate(f1, 0.0), 0.0, minutes), ordered))
    return curves


def efforts(curves: Sequence[Curve], axis: str) -> list[float]:
    """Round efforts at which two methods that tune can be compared (or the only one looked at), ascending."""
    spans = [curve.span(axis) for curve in curves if curve.tuned]
    if not spans:
        return []
    least, most = min(begin for begin, _ in spans), max(end for _, end in spans)
    together = min(2, len(spans))
    return [x for x in round_numbers(least, most) if sum(begin <= x <= end for begin, end in spans) >= together]
