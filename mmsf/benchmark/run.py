"""The runs of a benchmark, one after the other, with what is left."""

import statistics
from collections.abc import Callable, Sequence
from datetime import timedelta

from mmsf.benchmark.cell import LOG, Run


def run_grid(runs: Sequence[Run], say: Callable[[str], None]) -> list[Run]:
    """Start every run that is not finished; one that fails does not end the others.

    Args:
        runs: The runs.
        say: Takes a line for the user.

    Returns:
        Those that failed.
    """
    waiting = [run for run in runs if not run.finished()]
    seconds = {run: seconds_of(run) for run in runs if run not in waiting}
    say(f"{len(runs)} cells, {len(seconds)} finished before{_left(waiting, seconds)}")
    failed = []
    for number, run in enumerate(waiting, 1):
        place = f"[{len(runs) - len(waiting) + number}/{len(runs)}] {run.cell.title}"
        error = None
        if not run.finished():  # another grid may have finished it since
            say(f"{place}: running, log in {run.folder / LOG}")
            error = run.start()
        if error is None:
            seconds[run] = seconds_of(run)
            outcome = f"F1 {f1_of(run.read('summary.json')['quantized']):.4f}, {_time(seconds[run])}"
        else:
            failed.append(run)
            outcome = f"FAILED: {error}"
        say(f"{place}: {outcome}{_left(waiting[number:], seconds)}")
    return failed


def f1_of(metrics: dict[str, float]) -> float:
    """F1 among a validation's metrics, such as ``CULane/F1``."""
    return next(value for key, value in metrics.items() if key.count("/") == 1 and key.endswith("/F1"))


def seconds_of(run: Run) -> float:
    """What all phases of a finished run took, stopped attempts included, seconds."""
    return sum(run.read("summary.json")["seconds"].values())


def expected_seconds(run: Run, known: dict[Run, float]) -> float | None:
    """What a run will take, from finished ones: those of its detector and method, else of its detector, its method, or any.

    Args:
        run: The run.
        known: Seconds of the finished ones.

    Returns:
        Seconds; None if nothing is finished.
    """
    for alike in (
        lambda other: (other.detector, other.method) == (run.cell.detector, run.cell.method),
        lambda other: other.detector == run.cell.detector,
        lambda other: other.method == run.cell.method,
        lambda other: True,
    ):
        if found := [seconds for other, seconds in known.items() if alike(other.cell)]:
            return statistics.mean(found)
    return None


def _left(waiting: Sequence[Run], known: dict[Run, float]) -> str:
    if not waiting:
        return ""
    expected = [expected_seconds(run, known) for run in waiting]
    eta = f"about {_time(sum(expected))}" if None not in expected else "time unknown"
    return f"; {len(waiting)} cells left, {eta}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
