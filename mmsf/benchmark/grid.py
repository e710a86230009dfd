"""What is compared: detectors, methods, bits and seeds, read from a config of ``configs/benchmark``."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from mmsf.benchmark import paper
from mmsf.engine.config import read_config
from mmsf.errors import UserError

# Names become folders.
_NAME = re.compile(r"[\w.+=-]*[\w+=-]")


@dataclass(frozen=True)
class Detector:
    """A column of the table.

    Attributes:
        name: Short, for folders and the command line.
        config: Its float config.
        checkpoint: Its float weights; None if the command line gives them.
        data_root: Folder of the data set; None leaves the config's.
        calibration_root: Further folders of calibration images; None leaves the config's.
        title: Heading of the column; by default the name.
        paper: The column's name in the paper's tables, if it has one there.
    """

    name: str
    config: str
    checkpoint: str | None = None
    data_root: str | None = None
    calibration_root: Sequence[str] | None = None
    title: str = ""
    paper: str | None = None


@dataclass(frozen=True)
class Method:
    """A row of the table at each of the bits.

    Attributes:
        name: Short, for folders and the command line.
        preset: Name of the preset; by default the method's.
        options: Settings on top of the preset, as ``--cfg-options`` of `tools/ptq.py`: dotted key -> value.
        title: Heading of the row; by default the name.
        paper: The method's name in the paper's tables, if it has one there.
        draws: Whether its result depends on the seed; if not, it runs once, with seed 0.
        curve: Title of the curve that its result is a point of, over the effort of tuning; by default of none.
    """

    name: str
    preset: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    paper: str | None = None
    draws: bool = True
    curve: str = ""


@dataclass(frozen=True)
class Cell:
    """One run."""

    detector: Detector
    method: Method
    bits: str
    seed: int

    @property
    def title(self) -> str:
        return f"{self.detector.name} {self.bits} {self.method.name} seed {self.seed}"

    def folder(self, work_dir: str | Path) -> Path:
        """Its own work directory, below the benchmark's."""
        return Path(work_dir) / "cells" / self.detector.name / self.bits / self.method.name / f"seed{self.seed}"


@dataclass(frozen=True)
class Grid:
    """All runs of a benchmark.

    Attributes:
        title: Heading of the tables.
        detectors: Columns.
        methods: Rows.
        bits: Such as "w4a4".
        seeds: Seeds of each run that draws anything.
        table: Number of the paper's table whose figures stand beside; None for none.
        options: Settings on top of every run's, dotted key -> value.
        note: What a reader must know, a line above the tables.
    """

    title: str
    detectors: tuple[Detector, ...]
    methods: tuple[Method, ...]
    bits: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    table: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def cells(self) -> list[Cell]:
        """The runs, a whole table for the first seed first."""
        return [
            Cell(detector, method, bits, seed)
            for seed in dict.fromkeys((*self.seeds, 0))
            for detector in self.detectors
            for bits in self.bits
            for method in self.methods
            if seed in (self.seeds if method.draws else (0,))
        ]

    def part(
        self,
        detectors: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        bits: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
    ) -> "Grid":
        """The grid with some of its detectors and methods, and with other bits and seeds; None leaves all.

        Raises:
            UserError: The grid has no such detector or method.
        """
        return replace(
            self,
            detectors=_chosen("detector", self.detectors, detectors),
            methods=_chosen("method", self.methods, methods),
            bits=self.bits if bits is None else tuple(dict.fromkeys(value.lower() for value in bits)),
            seeds=self.seeds if seeds is None else tuple(dict.fromkeys(seeds)),
        )

    def with_files(
        self, checkpoint: str | None = None, data_root: str | None = None, calibration_root: Sequence[str] | None = None
    ) -> "Grid":
        """The grid with other files for all its detectors; None leaves them.

        Raises:
            UserError: One checkpoint for several detectors.
        """
        given = dict(checkpoint=checkpoint, data_root=data_root, calibration_root=calibration_root)
        given = {key: value for key, value in given.items() if value is not None}
        if checkpoint is not None and len(self.detectors) > 1:
            raise UserError("--checkpoint is for one detector; choose it with --detectors")
        return replace(self, detectors=tuple(replace(detector, **given) for detector in self.detectors))


Item = TypeVar("Item", Detector, Method)


def _chosen(kind: str, items: tuple[Item, ...], names: Iterable[str] | None) -> tuple[Item, ...]:
    if names is None:
        return items
    known = {item.name: item for item in items}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"there is no {kind} {unknown[0]!r} in this benchmark; its {kind}s are {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


def read_grid(path: str | Path) -> Grid:
    """Read a benchmark's config: the keys are `Grid`'s, and its lists hold dicts with the keys of `Detector` and `Method`.

    Raises:
        UserError: It cannot be read, or something in it is missing, unknown or there twice.
    """
    content = read_config(path).to_dict()
    given = {key: content[key] for key in Grid.__dataclass_fields__ if key in content}
    for key in ("title", "detectors", "methods", "bits"):
        if not given.get(key):
            raise UserError(f"benchmark {path} has no {key}")
    for key in ("detectors", "methods", "bits", "seeds"):
        if not isinstance(given.get(key, ()), (list, tuple)):
            raise UserError(f"benchmark {path}: {key} must be a list; got {given[key]!r}")
    if not isinstance(given.get("options", {}), dict):
        raise UserError(f"benchmark {path}: options must be a dict of settings; got {given['options']!r}")
    given["detectors"] = _items(path, "detectors", Detector, given["detectors"])
    given["methods"] = _items(path, "methods", Method, given["methods"])
    given["bits"] = tuple(str(bits).lower() for bits in given["bits"])
    given["seeds"] = tuple(given.get("seeds", (0,)))
    grid = Grid(**given)
    if grid.table is not None:
        if grid.table not in paper.TABLES:
            raise UserError(f"benchmark {path}: the paper has no table {grid.table!r}; known: {_listed(paper.TABLES)}")
        for items, known in ((grid.detectors, paper.COLUMNS[grid.table]), (grid.methods, paper.METHODS[grid.table])):
            for item in items:
                if item.paper is not None and item.paper not in known:
                    raise UserError(
                        f"benchmark {path}: the paper's table {grid.table} has no {item.paper!r}; it has {_listed(known)}"
                    )
    return grid


def _items(path: str | Path, key: str, kind: type[Item], entries: Iterable[dict]) -> tuple[Item, ...]:
    items: dict[str, Item] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise UserError(f"benchmark {path}, {key}: {entry!r} must be a dict, such as dict(name='qdrop')")
        try:
            item = kind(**entry)
        except TypeError as error:
            raise UserError(
                f"benchmark {path}, {key}: {entry.get('name', entry)}: {str(error).partition(' ')[2]}; "
                f"the keys are {', '.join(kind.__dataclass_fields__)}"
            ) from error
        if not _NAME.fullmatch(item.name):
            raise UserError(f"benchmark {path}, {key}: {item.name!r} is no name of a folder; use letters, digits, - and .")
        if item.name in items:
            raise UserError(f"benchmark {path}, {key}: {item.name!r} is there twice")
        defaults = [key for key in ("title", "preset") if getattr(item, key, None) == ""]
        items[item.name] = replace(item, **dict.fromkeys(defaults, item.name))
    return tuple(items.values())


def _listed(values: Iterable) -> str:
    return ", ".join(sorted(map(str, values)))
