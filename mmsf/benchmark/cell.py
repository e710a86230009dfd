"""One run of a benchmark, in a process of its own.

A crash of it ends nothing else, and its peak memory is its own. Its folder has a ``cell.json``: ``fingerprint`` of what it
was made from, ``arguments`` of `mmsf.engine.ptq.quantize`, ``finished``, and ``error``, the last attempt's, or null.
"""

import fcntl
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmsf.benchmark.grid import Cell
from mmsf.engine.ptq import ptq_config
from mmsf.engine.storage import file_hash
from mmsf.errors import UserError
from mmsf.files import whole_or_absent

_hash_of = cache(file_hash)
STATE = "cell.json"
LOG = "console.log"
RESULTS = ("summary.json", "frames.json")
"""What a run has written when it ended well."""


@dataclass(frozen=True, eq=False)
class Run:
    """A cell, ready to be started.

    Attributes:
        cell: The cell.
        folder: Its work directory.
        arguments: Of `mmsf.engine.ptq.quantize`, for JSON.
        fingerprint: Hash of the whole config, roots of data included, and of the float weights.
        processes: In how many processes it runs.
    """

    cell: Cell
    folder: Path
    arguments: dict[str, Any]
    fingerprint: str
    processes: int = 1

    def state(self) -> dict[str, Any]:
        """``cell.json``, if it was made from the same settings; otherwise nothing is known."""
        found = _read(self.folder / STATE) or {}
        return found if found.get("fingerprint") == self.fingerprint else {}

    def finished(self) -> bool:
        """Whether it ended well, with its results whole."""
        return bool(self.state().get("finished")) and all(self.read(name) for name in RESULTS)

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the run; None where it is not there or not whole."""
        return _read(self.folder / name)

    def start(self) -> str | None:
        """Run it, or go on where it was stopped; wait for its end.

        Returns:
            None if it ended well, else why not, in one line.
        """
        state = self.state()
        with _locked(self.folder) as lock:
            if lock is None:
                return "another process runs it at the moment"
            if not state:
                _empty(self.folder)
            state = dict(fingerprint=self.fingerprint, arguments=self.arguments, finished=False, error=None)
            write_state(self.folder, state)
            command = [sys.executable, "-u"]
            if self.processes > 1:
                command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={self.processes}"]
            command += ["-m", "mmsf.benchmark", str(self.folder)]
            with open(self.folder / LOG, "ab") as log:
                begin = log.tell()
                # The process inherits the lock: it holds as long as one of both lives.
                code = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[lock], check=False
                ).returncode
            if code == 0 and self.finished():
                return None
            state["error"] = self._error(code, begin)
            write_state(self.folder, state)
            return state["error"]

    def _error(self, code: int, begin: int) -> str:
        """One line on why the process failed, from its status and from what it wrote after ``begin``, bytes."""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with open(self.folder / LOG, "rb") as log:
            log.seek(begin)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        if code == 0:
            return f"it ended without {' and '.join(RESULTS)}; does its config evaluate?"
        # Below the command's own line there may be one of torchrun's.
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines
        return told[-1] if told else f"exit status {code}"


def prepare(cells: Iterable[Cell], work_dir: str | Path, presets: Path, options: dict[str, Any]) -> Iterator[Run]:
    """Check the config and files of cells and give each its fingerprint.

    Args:
        cells: The cells.
        work_dir: The benchmark's work directory.
        presets: Folder of the presets.
        options: Settings on top of the methods', dotted key -> value.

    Yields:
        A run for each cell.

    Raises:
        UserError: There is no such preset, config, checkpoint or folder.
    """
    configs: dict[tuple[str, str, str], list] = {}  # those of several seeds differ in the seed alone
    for cell in cells:
        detector, method = cell.detector, cell.method
        arguments = dict(
            config=detector.config,
            checkpoint=detector.checkpoint,
            data_root=detector.data_root,
            calibration_root=None if detector.calibration_root is None else list(detector.calibration_root),
            preset=method.preset,
            bits=cell.bits,
            options={**method.options, **options},
        )
        key = detector.name, method.name, cell.bits
        if key not in configs:
            configs[key] = _made_from(cell, {**arguments, "presets": presets})
        made_from = json.dumps([*configs[key], cell.seed], sort_keys=True, default=str)
        folder = cell.folder(work_dir)
        arguments["options"]["randomness.seed"] = cell.seed
        arguments.update(presets=str(presets), work_dir=str(folder), resume=True)
        yield Run(cell, folder, arguments, hashlib.sha256(made_from.encode()).hexdigest())


def _made_from(cell: Cell, arguments: dict[str, Any]) -> list:
    """The whole config of a run, and the hash of its float weights in place of their path."""
    name = cell.detector.name
    for root in [arguments["data_root"], *(arguments["calibration_root"] or ())]:
        if root is not None and not Path(root).is_dir():
            raise UserError(f"{name}: there is no folder {root}")
    try:
        config = ptq_config(**arguments).to_dict()
    except UserError as error:
        raise UserError(f"{name}, {cell.method.name}: {error}") from error
    return [config, _hash_of(config["model"].pop("float_checkpoint"))]


def _empty(folder: Path) -> None:
    """Remove what other settings have left, but for the lock."""
    for path in folder.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """Hold the folder's lock; gives its file descriptor, or None where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``cell.json``."""
    with whole_or_absent(folder / STATE) as temporary:
        temporary.write_text(json.dumps(state, indent=1) + "\n")
