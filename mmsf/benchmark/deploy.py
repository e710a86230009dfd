"""How fast and how large detectors are as floats and as integers, in each runtime."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch

from mmsf.benchmark.grid import Detector
from mmsf.deploy.export import export
from mmsf.deploy.onnx_file import write_float
from mmsf.deploy.ranges import write_ranges
from mmsf.deploy.runtime import open_runtime
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.files import whole_or_absent

RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
CALIBRATION_FRAMES = 8  # ranges do not change the time


@dataclass(frozen=True)
class Timing:
    """One detector in one runtime.

    Attributes:
        float_ms: Milliseconds of processor time for one image, float.
        int8_ms: The same for W8A8; None where the runtime has none.
        float_bytes: Size of the float file.
        int8_bytes: Size of the W8A8 file.
        problem: Why there is no W8A8 figure.
    """

    float_ms: float
    int8_ms: float | None = None
    float_bytes: int | None = None
    int8_bytes: int | None = None
    problem: str = ""


def benchmark_deploy(
    detectors: tuple[Detector, ...], work_dir: str | Path, presets: Path, rounds: int, say: Callable[[str], None]
) -> dict[str, dict[str, Timing]]:
    """Time every detector in every runtime: one image, one thread. Writes ``deploy.json`` and ``deploy.md``.

    Times are the median over rounds of the process' own processor time, so other load on the machine counts little; within a
    round every variant of a detector runs once, so that a machine that slows down slows all of them.

    Args:
        detectors: Each with a checkpoint.
        work_dir: Where results and files go.
        presets: Folder of the presets.
        rounds: How often each variant runs.
        say: Takes a line for the user.

    Returns:
        Detector -> runtime ("torch" too) -> figures.
    """
    folder = Path(work_dir)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timings = {}
        for detector in detectors:
            say(f"{detector.name} ...")
            timings[detector.name] = _time_detector(detector, folder / "deploy" / detector.name, presets, rounds)
    finally:
        torch.set_num_threads(threads)
    packages = ("torch", "onnx", *RUNTIMES)
    content = {
        "threads": 1,
        "rounds": rounds,
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in packages},
        "detectors": {name: {key: asdict(t) for key, t in own.items()} for name, own in timings.items()},
    }
    with whole_or_absent(folder / "deploy.json") as path:
        path.write_text(json.dumps(content, indent=2))
    with whole_or_absent(folder / "deploy.md") as path:
        path.write_text(deploy_table(timings))
    say(f"{deploy_table(timings)}\nresults in {folder}")
    return timings


def _time_detector(detector: Detector, folder: Path, presets: Path, rounds: int) -> dict[str, Timing]:
    if detector.checkpoint is None:
        raise UserError(f"there are no float weights for {detector.name}; give --checkpoint FILE")
    folder.mkdir(parents=True, exist_ok=True)
    problems, runs, files = {}, {}, {}
    for backend in RUNTIMES:
        weights = folder / f"{backend}.pth"
        model = write_ranges(
            *(weights, detector.config, detector.checkpoint, presets),
            frames=CALIBRATION_FRAMES,
            data_root=detector.data_root,
            profile=backend,
        )
        files[backend, "int8"] = folder / f"{backend}.onnx"
        try:
            export(
                *(detector.config, weights, backend, files[backend, "int8"]),
                data_root=detector.data_root,
                checkpoint=detector.checkpoint,
                say=lambda line: None,
            )
        except UserError as error:
            problems[backend] = str(error)
    image = torch.zeros(1, 3, *model.input_size)
    files["float"] = folder / "float.onnx"
    write_float(files["float"], model, image)
    runs["torch"] = _torch_run(model, image)
    for backend in RUNTIMES:
        runs[backend] = _runtime_run(files["float"], backend, image.numpy())
        if backend not in problems:
            runs[backend, "int8"] = _runtime_run(files[backend, "int8"], backend, image.numpy())
    times = _interleaved(runs, rounds)
    found = {"torch": Timing(times["torch"])}
    for backend in RUNTIMES:
        sizes = (files[key].stat().st_size if files[key].exists() else None for key in ("float", (backend, "int8")))
        found[backend] = Timing(times[backend], times.get((backend, "int8")), *sizes, problems.get(backend, ""))
    return found


def _torch_run(model: QuantWrapper, image: torch.Tensor) -> Callable[[], object]:
    return lambda: model.float_raw(image)


def _runtime_run(path: Path, runtime: str, image: np.ndarray) -> Callable[[], object]:
    opened = open_runtime(path, runtime, threads=1)
    return lambda: opened.run(image)


def _interleaved(runs: dict, rounds: int) -> dict:
    times = {key: [] for key in runs}
    for number in range(rounds + 1):
        for key, run in runs.items():
            begin = time.process_time()
            run()
            if number:  # the first round only warms up
                times[key].append(1000 * (time.process_time() - begin))
    return {key: median(values) for key, values in times.items()}


def deploy_table(timings: dict[str, dict[str, Timing]]) -> str:
    """Markdown: a row a detector and runtime."""
    rows = [
        "| detector | runtime | float, ms | W8A8, ms | faster by | float, MiB | W8A8, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in timings.items():
        for runtime, t in own.items():
            ratio = None if t.int8_ms is None else t.float_ms / t.int8_ms
            cells = [name, RUNTIMES.get(runtime, runtime), _figure(t.float_ms, 1)]
            cells += [t.problem or _figure(t.int8_ms, 1), _figure(ratio, 2)]
            cells += [_figure(None if b is None else b / 2**20, 2) for b in (t.float_bytes, t.int8_bytes)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
