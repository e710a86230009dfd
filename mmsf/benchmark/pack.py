"""Finished cells in one small file, to be kept beside the tables they have made."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from mmsf.benchmark.cell import RESULTS, STATE, Run
from mmsf.errors import UserError
from mmsf.files import whole_or_absent


def pack_cells(runs: Iterable[Run], path: str | Path) -> int:
    """Write what `tools/benchmark.py tables` and another grid need of finished runs; the same runs give the same bytes.

    Paths of this machine (``arguments``) and times of files are left out.

    Args:
        runs: The runs; those that are not finished are left out.
        path: The ``.tar.xz`` to write. Names in it are relative to the work directory.

    Returns:
        How many runs are in it.

    Raises:
        UserError: None is finished, or the file cannot be written.
    """
    finished = sorted((run for run in runs if run.finished()), key=lambda run: run.folder)
    if not finished:
        raise UserError("no cell is finished")
    with whole_or_absent(path) as temporary, tarfile.open(temporary, "w:xz", preset=9) as archive:
        for run in finished:
            state = {key: value for key, value in run.state().items() if key != "arguments"}
            _add(archive, run, STATE, (json.dumps(state, indent=1) + "\n").encode())
            for name in RESULTS:
                _add(archive, run, name, (run.folder / name).read_bytes())
    return len(finished)


def _add(archive: tarfile.TarFile, run: Run, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(str(run.cell.folder("") / name))
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
