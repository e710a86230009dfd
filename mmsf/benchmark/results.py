"""The results of a benchmark's runs: a record of each, and what they say together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from mmsf.benchmark import paper
from mmsf.benchmark.bootstrap import f1_of_sums, resampled_f1
from mmsf.benchmark.cell import Run
from mmsf.benchmark.grid import Detector, Method
from mmsf.benchmark.run import f1_of
from mmsf.errors import UserError


@dataclass(frozen=True)
class Estimate:
    """A figure and its standard error.

    Attributes:
        value: Mean over the seeds.
        frames_error: Standard error over evaluation frames, of that mean.
        seeds_error: Standard error over seeds; 0 with a single one, which tells nothing of it.
    """

    value: float
    frames_error: float
    seeds_error: float = 0.0

    @property
    def error(self) -> float:
        """Both together, as of independent causes."""
        return math.hypot(self.frames_error, self.seeds_error)

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        errors = {"frames_error": self.frames_error, "seeds_error": self.seeds_error}
        return {"value": self.value, "standard_error": self.error, **errors}


@dataclass
class Group:
    """Runs of one detector at the same bits.

    Attributes:
        detector: The detector.
        bits: The bits.
        float_f1: F1 of the float model.
        f1: Method -> F1 of the quantized model.
        to_float: Method -> its F1 minus the float model's.
        differences: (method, other) -> F1 of the first minus F1 of the second.
        minutes: Method -> minutes of quantization without evaluation, mean over seeds.
        passes: Method -> sample passes of tuning, mean over seeds.
        starts: Method -> F1 of the calibrated model and the minutes until then, means over seeds.
        cell_errors: Cell -> standard errors over frames of its F1 and of the difference to the float model's.
        frames: Evaluation frames.
        seeds: Method -> number of seeds.
    """

    detector: Detector
    bits: str
    float_f1: Estimate
    f1: dict[str, Estimate] = field(default_factory=dict)
    to_float: dict[str, Estimate] = field(default_factory=dict)
    differences: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)
    passes: dict[str, float] = field(default_factory=dict)
    starts: dict[str, tuple[float, float]] = field(default_factory=dict)
    cell_errors: dict[Run, tuple[float, float]] = field(default_factory=dict)
    frames: int = 0
    seeds: dict[str, int] = field(default_factory=dict)


def group_of(runs: Sequence[Run]) -> Group:
    """Compare the finished runs of one detector at the same bits.

    Raises:
        UserError: They were evaluated on different frames.
    """
    files = [run.read("frames.json") for run in runs]
    columns, names = files[0]["columns"], files[0]["frames"]
    for run, file in zip(runs, files):
        if file["frames"] != names or file["columns"] != columns:
            raise UserError(f"{run.folder} and {runs[0].folder} were evaluated on different frames; remove one of them")
    # Without tuning, the quantized model is the calibrated one.
    scores = np.array([files[0]["float"], *(file.get("quantized", file["calibrated"]) for file in files)], np.float64)
    f1 = f1_of_sums(scores.sum(1), len(names), columns)
    drawn = resampled_f1(scores, columns)
    deviation = drawn.std(0, ddof=1)
    cell = runs[0].cell
    group = Group(cell.detector, cell.bits, Estimate(f1[0], deviation[0]), frames=len(names))
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs, 1):
        places.setdefault(run.cell.method.name, []).append(place)
        group.cell_errors[run] = float(deviation[place]), float((drawn[:, place] - drawn[:, 0]).std(ddof=1))
    means = {method: drawn[:, index].mean(1) for method, index in places.items()}
    for method, index in places.items():
        spread = f1[index].std(ddof=1) / math.sqrt(len(index)) if len(index) > 1 else 0.0
        group.f1[method] = Estimate(f1[index].mean(), means[method].std(ddof=1), spread)
        to_float = (means[method] - drawn[:, 0]).std(ddof=1)
        group.to_float[method] = Estimate(f1[index].mean() - f1[0], to_float, spread)
        members = [runs[place - 1] for place in index]
        group.minutes[method] = float(np.mean([quantization_seconds(run) for run in members])) / 60
        summaries = [run.read("summary.json") for run in members]
        group.passes[method] = float(np.mean([summary["sample_passes"] for summary in summaries]))
        starts = [(f1_of(summary["calibrated"]), calibration_seconds(summary) / 60) for summary in summaries]
        group.starts[method] = tuple(np.mean(starts, 0).tolist())
        group.seeds[method] = len(index)
    for one, other in combinations(places, 2):
        group.differences[one, other] = Estimate(
            group.f1[one].value - group.f1[other].value,
            (means[one] - means[other]).std(ddof=1),
            math.hypot(group.f1[one].seeds_error, group.f1[other].seeds_error),
        )
    return group


def quantization_seconds(run: Run) -> float:
    """Seconds of all phases of a finished run but evaluation."""
    seconds = run.read("summary.json")["seconds"]
    return sum(value for phase, value in seconds.items() if not phase.startswith("evaluation"))


def calibration_seconds(summary: dict[str, Any]) -> float:
    """Seconds until the calibrated model of a ``summary.json``."""
    return sum(summary["seconds"].get(phase, 0.0) for phase in ("loading", "equalisation", "ranges", "bit plan"))


def record_of(run: Run, table: int | None, errors: tuple[float, float] | None) -> dict[str, Any]:
    """A row of ``cells.csv``.

    Args:
        run: The run, finished or not.
        table: Number of the paper's table.
        errors: Standard errors over frames of a finished run's F1 and of its difference to the float model's.
    """
    cell = run.cell
    paper_figure = paper_figure_of(table, cell.bits, cell.method, cell.detector)
    record: dict[str, Any] = dict(
        detector=cell.detector.name,
        method=cell.method.name,
        bits=cell.bits,
        seed=cell.seed,
        status="finished" if errors else "failed" if run.state().get("error") else "unfinished",
        error=run.state().get("error"),
        folder=str(run.folder),
        paper_f1=None if paper_figure is None else paper_figure.f1 / 100,
        paper_minutes=None if paper_figure is None else paper_figure.minutes,
        paper_network=None if paper_figure is None else f"{cell.detector.paper}, CULane",
    )
    if errors is None:
        return record
    summary = run.read("summary.json")
    for stage in ("float", "calibrated", "quantized"):
        record[f"f1_{stage}"] = f1_of(summary[stage])
    record.update(
        f1_standard_error=errors[0],
        f1_minus_float=record["f1_quantized"] - record["f1_float"],
        f1_minus_float_standard_error=errors[1],
    )
    for key, value in summary["quantized"].items():
        if key.count("/") == 1 and not key.endswith("/F1"):
            record[key.partition("/")[2]] = value
    record.update(
        agreement_f1=summary["agreement"]["f1"],
        mean_distortion=summary["agreement"]["mean_distortion"],
        calibration_frames=summary["frames"]["calibration"],
        evaluation_frames=summary["frames"]["evaluation"],
        iterations=summary["iterations"],
        batch_size=summary["batch_size"],
        sample_passes=summary["sample_passes"],
        iteration_cost_ratio=summary["iteration_cost_ratio"],
        peak_memory_mb=summary["peak_memory_mb"],
        quantization_seconds=quantization_seconds(run),
    )
    return record | {f"seconds, {phase}": seconds for phase, seconds in summary["seconds"].items()}


def paper_figure_of(table: int | None, bits: str, method: Method | None, detector: Detector) -> paper.Figure | None:
    """The paper's entry for a method, or with None for the float model."""
    if method is None:
        return paper.figure(table, *paper.FULL_PRECISION, detector.paper)
    return paper.figure(table, bits, method.paper, detector.paper)
