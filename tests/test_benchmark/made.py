"""Cells of a benchmark, made up: their files as a run would have left them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmsf.benchmark.cell import Run, write_state
from mmsf.benchmark.grid import Cell, Detector, Grid, Method

LSTR = Detector("lstr", "lstr.py", title="LSTR", paper="LSTR Small")
GANET = Detector("ganet", "ganet.py", title="GANet", paper="GANet Small")
OURS = Method("ours", preset="paper", title="Selective Focus", paper="Ours")
QDROP = Method("qdrop", preset="qdrop", title="QDrop", paper="QDrop")
OWN = Method("own", preset="own", title="Own")


def grid(**changes) -> Grid:
    """Two detectors, three methods, W4A4, beside the paper's Table 1."""
    given = dict(title="Made up", detectors=(LSTR, GANET), methods=(OURS, QDROP, OWN), bits=("w4a4",), table=1)
    return Grid(**(given | changes))


def finished(
    folder: Path,
    detector: Detector,
    method: Method,
    found: Sequence[int],
    bits: str = "w4a4",
    seed: int = 0,
    minutes: float = 1.0,
    names: Sequence[str] | None = None,
    passes: float = 20.0,
) -> Run:
    """A finished run: each frame has one lane, which the quantized model finds (1) or sees elsewhere (0).

    The float model finds all but the last frame's.
    """
    run = unstarted(folder, detector, method, bits, seed)
    quantized = [[hit, 1 - hit, 1 - hit] for hit in found]
    floating = [[1, 0, 0]] * (len(found) - 1) + [[0, 1, 1]]
    names = list(names or (f"{number}.jpg" for number in range(len(found))))
    run.folder.mkdir(parents=True)
    content = {
        "columns": ["tp", "fp", "fn"],
        "frames": names,
        "float": floating,
        "calibrated": floating,
        "quantized": quantized,
    }
    (run.folder / "frames.json").write_text(json.dumps(content))
    summary = {
        "float": {"CULane/F1": float(np.mean(floating, 0)[0])},
        "calibrated": {"CULane/F1": 0.25},
        "quantized": {"CULane/F1": float(np.mean(quantized, 0)[0])},
        "agreement": {"f1": 0.5, "mean_distortion": 3.0},
        "frames": {"calibration": 8, "evaluation": len(found)},
        "iterations": 5,
        "batch_size": 4,
        "sample_passes": passes,
        "iteration_cost_ratio": 1.5,
        "peak_memory_mb": 600.0,
        "seconds": {"ranges": 20 * minutes, "tuning": 40 * minutes, "evaluation, quantized": 7.0},
    }
    (run.folder / "summary.json").write_text(json.dumps(summary))
    write_state(run.folder, dict(fingerprint=run.fingerprint, arguments={}, finished=True, error=None))
    return run


def unstarted(folder: Path, detector: Detector, method: Method, bits: str = "w4a4", seed: int = 0) -> Run:
    """A run that has left nothing yet."""
    cell = Cell(detector, method, bits, seed)
    return Run(cell, cell.folder(folder), {}, "the same settings")


def failed(folder: Path, detector: Detector, method: Method, error: str) -> Run:
    """A run that has failed."""
    run = unstarted(folder, detector, method)
    run.folder.mkdir(parents=True)
    write_state(run.folder, dict(fingerprint=run.fingerprint, arguments={}, finished=False, error=error))
    return run
