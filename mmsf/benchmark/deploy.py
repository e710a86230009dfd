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
from mmsf.deploy.export import export, write_file
from mmsf.deploy.onnx_file import write_float, write_trunk
from mmsf.deploy.ranges import write_ranges
from mmsf.deploy.runtime import open_runtime
from mmsf.engine.config import read_config
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.files import require_folder, whole_or_absent
from mmsf.registry import MODELS

RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
CALIBRATION_FRAMES = 8  # ranges do not change the time


@dataclass(frozen=True)
class Timing:
    """One detector in one runtime.

    Attributes:
        float_ms: Milliseconds of processor time for one image, float.
        int8_ms: The same for W8A8; None where the runtime has none.
        trunk_float_ms: As ``float_ms``, of the part that backbone and neck are.
        trunk_int8_ms: As ``int8_ms``, of that part.
        float_bytes: Size of the float file.
        int8_bytes: Size of the W8A8 file.
        problem: Why there is no W8A8 figure.
    """

    float_ms: float
    int8_ms: float | None = None
    trunk_float_ms: float | None = None
    trunk_int8_ms: float | None = None
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
        detectors: One without a checkpoint is timed with random weights, and its files are not checked for parity.
        work_dir: Where results and files go.
        presets: Folder of the presets.
        rounds: How often each variant runs.
        say: Takes a line for the user.

    Returns:
        Detector -> runtime ("torch" too) -> figures.
    """
    folder = Path(work_dir)
    require_folder(folder)
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
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = detector.checkpoint or _random_weights(detector.config, folder / "random.pth")
    problems, runs, files = {}, {}, {}
    for backend in RUNTIMES:
        weights = folder / f"{backend}.pth"
        model = write_ranges(
            *(weights, detector.config, checkpoint, presets),
            frames=CALIBRATION_FRAMES,
            data_root=detector.data_root,
            profile=backend,
        )
        image = torch.zeros(1, 3, *model.input_size)
        files[backend, "int8"] = folder / f"{backend}.onnx"
        try:
            if detector.checkpoint is None:
                write_file(files[backend, "int8"], weights, backend, image, simulated=False)
            else:
                export(
                    *(detector.config, weights, backend, files[backend, "int8"]),
                    data_root=detector.data_root,
                    checkpoint=detector.checkpoint,
                    say=lambda line: None,
                )
        except UserError as error:
            problems[backend] = str(error)
    files["float"] = folder / "float.onnx"
    write_float(files["float"], model, image)
    runs["torch"] = _torch_run(model, image)
    for backend in RUNTIMES:
        wanted = {(backend, "float"): files["float"]}
        if backend not in problems:
            wanted[backend, "int8"] = files[backend, "int8"]
        for key, path in wanted.items():
            trunk = path.with_name(f"{path.stem}-trunk.onnx")
            write_trunk(path, trunk)
            runs[key] = _runtime_run(path, backend, image.numpy())
            runs[(*key, "trunk")] = _runtime_run(trunk, backend, image.numpy())
    times = _interleaved(runs, rounds)
    found = {"torch": Timing(times["torch"])}
    for backend in RUNTIMES:
        keys = [(backend, kind, *part) for part in ((), ("trunk",)) for kind in ("float", "int8")]
        sizes = (files[key].stat().st_size if files[key].exists() else None for key in ("float", (backend, "int8")))
        found[backend] = Timing(*(times.get(key) for key in keys), *sizes, problems.get(backend, ""))
    return found


def _random_weights(config: str, path: Path) -> str:
    """Weights as a new detector has them, nothing downloaded; a network's time does not depend on them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(MODELS.build(read_config(config).model).state_dict(), path)
    return str(path)


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
        "| detector | runtime | float, ms | W8A8, ms | faster by | backbone and neck, float, ms | W8A8, ms | faster by "
        "| float, MiB | W8A8, MiB |",
        f"|{'---|' * 10}",
    ]
    for name, own in timings.items():
        for runtime, t in own.items():
            cells = [name, RUNTIMES.get(runtime, runtime)]
            for n, (before, after) in enumerate(((t.float_ms, t.int8_ms), (t.trunk_float_ms, t.trunk_int8_ms))):
                ratio = None if after is None else before / after
                problem = "" if n else t.problem
                cells += [_figure(before, 1), problem or _figure(after, 1), _figure(ratio, 2)]
            cells += [_figure(None if b is None else b / 2**20, 2) for b in (t.float_bytes, t.int8_bytes)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
