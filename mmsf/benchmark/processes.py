"""The same run in one process and in several: throughput of tuning and memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mmsf.benchmark.cell import Run
from mmsf.benchmark.run import f1_of, run_grid
from mmsf.files import require_folder, whole_or_absent

COUNTS = (1, 2)
_HEAD = """\
| run | processes | tuning, frames a second | of one's | calibration before, seconds | peak memory of a process, MB | F1 |
|---|---:|---:|---:|---:|---:|---:|
"""
_BEFORE = ("loading", "equalisation", "ranges", "bit plan", "float outputs", "curves")


def benchmark_processes(
    runs: Sequence[Run], work_dir: str | Path, say: Callable[[str], None], counts: Sequence[int] = COUNTS
) -> list[Run]:
    """Run each of the runs in one process and in several, then write ``processes.md``.

    Args:
        runs: The runs; those in ``work_dir`` itself are left alone.
        work_dir: The benchmark's work directory.
        say: Takes a line for the user.
        counts: Numbers of processes, on this machine.

    Returns:
        The runs that failed.
    """
    require_folder(work_dir)
    several = [in_processes(run, count) for run in runs for count in counts]
    failed = run_grid(several, say)
    text = table([run for run in several if run.finished()])
    with whole_or_absent(Path(work_dir) / "processes.md") as temporary:
        temporary.write_text(text)
    say(f"\n{text}")
    return failed


def in_processes(run: Run, count: int) -> Run:
    """The run, in a folder of its own, in so many processes."""
    folder = run.folder / f"processes{count}"
    launcher = "none" if count == 1 else "pytorch"
    return replace(
        run, folder=folder, processes=count, arguments={**run.arguments, "work_dir": str(folder), "launcher": launcher}
    )


def table(runs: Sequence[Run]) -> str:
    """A row for each of finished runs, those of one cell together, fewest processes first; Markdown."""
    lines, first = [], {}
    for run in runs:
        summary = run.read("summary.json")
        seconds = summary["seconds"]
        rate = summary["iterations"] * summary["batch_size"] / seconds["tuning"] if "tuning" in seconds else None
        first.setdefault(run.cell.title, rate)
        cells = [
            run.cell.title,
            str(run.processes),
            "–" if rate is None else f"{rate:.2f}",
            "–" if rate is None else f"{rate / first[run.cell.title]:.2f}",
            f"{sum(seconds.get(phase, 0.0) for phase in _BEFORE):.1f}",
            f"{summary['peak_memory_mb']:.0f}",
            f"{f1_of(summary['quantized']):.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |\n")
    return _HEAD + "".join(lines)
