"""CULane's F1 of folders of ``.lines.txt`` files, over list files and categories, in several processes."""

import multiprocessing
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmsf.errors import UserError
from mmsf.evaluation.culane_score import CHUNK, IMAGE_SIZE, LaneCounts, count_frames, total
from mmsf.lanes.culane import lines_path, read_lines, read_list

_CATEGORY_LIST = re.compile(r"test\d+_(\w+)\.txt")


def _count_chunk(names: Sequence[str], truth: str | Path, found: str | Path, options: dict) -> list[LaneCounts]:
    labelled, predicted = ([read_lines(lines_path(root, name)) for name in names] for root in (truth, found))
    return count_frames(labelled, predicted, **options)


def count_files(
    names: Sequence[str],
    truth: str | Path,
    found: str | Path,
    size: tuple[int, int] = IMAGE_SIZE,
    width: int = 30,
    threshold: float = 0.5,
    processes: int = 1,
) -> list[LaneCounts]:
    """Count the frames of a list from their ``.lines.txt`` files. A missing file holds no lanes.

    Args:
        names: Lines of a list file.
        truth: Folder of the annotations.
        found: Folder of the predictions.
        size: Height and width of the images, pixels.
        width: Thickness of the drawn lanes, pixels.
        threshold: Least IoU, exclusive.
        processes: Number of processes among which the frames are shared; 1 for this one. It does not change the counts.

    Returns:
        The counts of each frame, in the order of ``names``.
    """
    options = {"size": size, "width": width, "threshold": threshold}
    work = partial(_count_chunk, truth=truth, found=found, options=options)
    chunks = [names[begin : begin + CHUNK] for begin in range(0, len(names), CHUNK)]
    if processes <= 1 or len(chunks) <= 1:
        return [counts for chunk in chunks for counts in work(chunk)]
    # Forked children start at once; where there is no fork, they import the package anew.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(min(processes, len(chunks)), multiprocessing.get_context(method)) as pool:
        return [counts for part in pool.map(work, chunks) for counts in part]


@dataclass(frozen=True)
class CULaneReport:
    """What an evaluation of files found.

    Attributes:
        overall: The sum over all frames of the lists that are no category; over the categories if there are only these.
        categories: The sum over each category's list, by its name.
        frames: Counts of each frame, by its line in the first list that names it.
    """

    overall: LaneCounts
    categories: dict[str, LaneCounts]
    frames: dict[str, LaneCounts]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the overall numbers at the top; "categories" where there are some; "frames" with tp, fp and fn."""
        content: dict[str, Any] = self.overall.as_dict()
        if self.categories:
            content["categories"] = {name: counts.as_dict() for name, counts in self.categories.items()}
        content["frames"] = {name: {"tp": c.tp, "fp": c.fp, "fn": c.fn} for name, c in self.frames.items()}
        return content

    def table(self) -> str:
        """Lines for a console; of "cross", whose frames have no labelled lane, only the false positives."""
        lines = [f"{'':10}{'tp':>8}{'fp':>8}{'fn':>8}{'precision':>11}{'recall':>9}{'F1':>9}"]
        for name, counts in {**self.categories, "overall": self.overall}.items():
            if name == "cross":
                lines.append(f"{name:10}{'':8}{counts.fp:8}")
                continue
            ratios = f"{counts.precision:11.6f}{counts.recall:9.6f}{counts.f1:9.6f}"
            lines.append(f"{name:10}{counts.tp:8}{counts.fp:8}{counts.fn:8}{ratios}")
        return "\n".join(lines)


def find_lists(paths: Sequence[str | Path]) -> list[tuple[str | None, Path]]:
    """The list files behind some paths, each with the category that its name ``test<i>_<category>.txt`` tells, or None.

    Args:
        paths: List files, or folders, which stand for the category lists in them.

    Raises:
        UserError: A folder has no category list, or two lists are of one category.
    """
    lists: list[tuple[str | None, Path]] = []
    for path in map(Path, paths):
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if _CATEGORY_LIST.fullmatch(file.name))
            if not files:
                raise UserError(f"{path} has no category list test<i>_<category>.txt; name a list file or such a folder")
        for file in files:
            match = _CATEGORY_LIST.fullmatch(file.name)
            lists.append((match.group(1) if match else None, file))
    categories = [category for category, _ in lists if category is not None]
    if len(set(categories)) < len(categories):
        raise UserError("two lists of one category; give each category once")
    return lists


def evaluate_lists(
    paths: Sequence[str | Path], truth: str | Path, found: str | Path, processes: int = 1, **options: Any
) -> CULaneReport:
    """Evaluate folders of ``.lines.txt`` files over list files.

    Args:
        paths: List files, or folders of category lists, see `find_lists`.
        truth: Folder of the annotations.
        found: Folder of the predictions.
        processes: Number of processes.
        **options: ``size``, ``width`` and ``threshold`` of `count_files`.

    Raises:
        UserError: A folder or list is missing, or all lists are empty.
    """
    for role, folder in (("annotations", truth), ("predictions", found)):
        if not Path(folder).is_dir():
            raise UserError(
                f"folder of {role} {folder} does not exist; give the folder that the list's names are relative to"
            )
    lists = [(category, read_list(path)) for category, path in find_lists(paths)]
    # One frame may stand in the list of all frames with a leading slash, and without in that of its category.
    first_names = {}
    for _, names in lists:
        for name in names:
            first_names.setdefault(name.lstrip("/"), name)
    if not first_names:
        raise UserError(f"no frame in {', '.join(map(str, paths))}; give a list with one frame a line")
    counts = dict(zip(first_names, count_files(list(first_names.values()), truth, found, processes=processes, **options)))
    sums = [(category, total(counts[name.lstrip("/")] for name in names)) for category, names in lists]
    categories = {category: value for category, value in sums if category is not None}
    whole = [value for category, value in sums if category is None] or list(categories.values())
    return CULaneReport(total(whole), categories, {first_names[key]: value for key, value in counts.items()})
