"""A benchmark as `tools/benchmark.py` starts it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsf.benchmark.cell import Run, prepare
from mmsf.benchmark.grid import Cell, Grid, read_grid
from mmsf.benchmark.report import write_tables
from mmsf.benchmark.run import run_grid
from mmsf.errors import UserError
from mmsf.files import require_folder


class Benchmark:
    """A benchmark's grid, and the part of it that a command is about.

    Args:
        config: A config of ``configs/benchmark``.
        work_dir: Where cells and tables go.
        presets: Folder of the presets.
        part: Arguments of `Grid.part`.
        files: Arguments of `Grid.with_files`, for the part's detectors.
        options: Settings on top of every run's, dotted key -> value.

    Attributes:
        grid: Everything that the tables show: the config's grid and the part.
        runs: Those of the part.

    Raises:
        UserError: Something that a run of the part needs is wrong or missing.
    """

    def __init__(
        self,
        config: str | Path,
        work_dir: str | Path,
        presets: Path,
        part: dict[str, Any] | None = None,
        files: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.work_dir, self.presets = Path(work_dir), presets
        whole = read_grid(config)
        chosen = whole.part(**(part or {})).with_files(**(files or {}))
        self.options = {**whole.options, **(options or {})}
        self.runs = list(prepare(chosen.cells(), work_dir, presets, self.options))
        self.grid = _joined(whole, chosen)

    def run(self, say: Callable[[str], None]) -> list[Run]:
        """Run what is not finished, then write the tables.

        Args:
            say: Takes a line for the user.

        Returns:
            The runs that failed.
        """
        require_folder(self.work_dir)
        failed = run_grid(self.runs, say)
        say(f"\n{self.write_tables()}\nresults in {self.work_dir}")
        return failed

    def write_tables(self) -> str:
        """Write tables of all that is finished, the rest of the grid included; returns ``table.md``."""
        of_part = {run.folder: run for run in self.runs}
        runs = []
        for cell in self.grid.cells():
            folder = cell.folder(self.work_dir)
            runs += [of_part[folder]] if folder in of_part else self._found(cell)
        return write_tables(self.work_dir, self.grid, runs)

    def _found(self, cell: Cell) -> Sequence[Run]:
        """The run of a cell outside of the part, if an earlier command has started it with these settings."""
        if not cell.folder(self.work_dir).is_dir():
            return []
        try:
            runs = list(prepare([cell], self.work_dir, self.presets, self.options))
        except UserError:  # what it was made from is gone
            return []
        return [run for run in runs if run.state()]


def _joined(whole: Grid, part: Grid) -> Grid:
    """The whole grid, with the part's files, and its bits and seeds besides."""
    of_part = {detector.name: detector for detector in part.detectors}
    return replace(
        whole,
        detectors=tuple(of_part.get(detector.name, detector) for detector in whole.detectors),
        bits=tuple(dict.fromkeys((*whole.bits, *part.bits))),
        seeds=tuple(dict.fromkeys((*whole.seeds, *part.seeds))),
    )
