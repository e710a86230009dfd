"""Quantize several detectors with several methods, and compare them in tables like the paper's.

python tools/benchmark.py grid configs/benchmark/table1_tiny.py --work-dir work_dirs/table1
python tools/benchmark.py tables configs/benchmark/table1_tiny.py --work-dir work_dirs/table1
python tools/benchmark.py pack configs/benchmark/table1_tiny.py --work-dir work_dirs/table1
python tools/benchmark.py deploy configs/benchmark/table1_tiny.py --work-dir work_dirs/deploy
python tools/benchmark.py processes configs/benchmark/ablation_tiny.py --methods best --work-dir work_dirs/processes
python tools/benchmark.py speed --against docs/benchmarks/speed.json
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.benchmark import Benchmark, read_grid
from mmsf.benchmark.grid import Detector
from mmsf.benchmark.pack import pack_cells
from mmsf.benchmark.processes import benchmark_processes
from mmsf.benchmark.speed import PARTS, benchmark_speed, compare_speed, read_speed
from mmsf.cli import add_config_options, run
from mmsf.deploy.description import require
from mmsf.errors import UserError

# Options that these do not read.
_OF_SPEED = ("threads", "parts", "full", "against")
UNREAD = {
    "speed": ("detectors", "methods", "bits", "seeds", "checkpoint", "data_root", "calibration_root", "options"),
    "deploy": ("methods", "bits", "seeds", "calibration_root", "options", *_OF_SPEED),
    **dict.fromkeys(("grid", "tables", "pack", "processes"), ("rounds", *_OF_SPEED)),
}
ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "configs" / "_base_" / "ptq"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        choices=["grid", "tables", "pack", "deploy", "processes", "speed"],
        help="run what is not finished; tables alone; finished cells into one file; time exported models; compare one "
        "process with two; or time tuning",
    )
    parser.add_argument(
        "config",
        nargs="*",
        help="config of the benchmark, such as configs/benchmark/table1_tiny.py; for speed float configs, by default those "
        "of the small detectors",
    )
    parser.add_argument("--work-dir", help="where cells and tables go; default work_dirs/<config>")
    parser.add_argument("--detectors", nargs="+", help="run these only")
    parser.add_argument("--methods", nargs="+", help="run these only")
    parser.add_argument("--bits", nargs="+", help="run at these bits, such as w4a4")
    parser.add_argument("--seeds", nargs="+", type=int, help="run with these seeds")
    parser.add_argument("--rounds", type=int, help="how often each variant runs; for deploy 20 by default, for speed 5")
    parser.add_argument("--threads", type=int, help="for speed: threads of PyTorch; 1 by default")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="for speed: measure these; all by default")
    parser.add_argument("--full", action="store_true", help="for speed: the smallest full-size detector of each family too")
    parser.add_argument(
        "--against", metavar="JSON", help="for speed: tell what is 20 %% worse than in this table; exit status 1"
    )
    parser.add_argument("--checkpoint", help="float weights, of a single detector")
    parser.add_argument("--data-root", help="folder of the data set, for all detectors")
    parser.add_argument("--calibration-root", nargs="+", help="folders of images to calibrate with, for all detectors")
    add_config_options(parser)
    return parser.parse_args()


def speed(args: argparse.Namespace) -> None:
    stored = None if args.against is None else read_speed(args.against)
    tiny = {detector.config: detector for detector in read_grid(ROOT / "configs/benchmark/table1_tiny.py").detectors}
    chosen = [tiny.get(config, Detector(Path(config).stem, config)) for config in args.config or tiny]
    if args.full:
        full = read_grid(ROOT / "configs/benchmark/table1_culane.py").detectors
        chosen += [detector for detector in full if detector.name.endswith("-small")]
    say = partial(print, flush=True)
    parts = args.parts or PARTS
    content = benchmark_speed(
        chosen, args.work_dir or "work_dirs/speed", PRESETS, args.rounds or 5, args.threads or 1, parts, say
    )
    if stored is not None and compare_speed(content, stored, say):
        sys.exit(1)


def main() -> None:
    args = parse_args()
    if any(number is not None and number < 1 for number in (args.threads, args.rounds)):
        raise UserError("--threads and --rounds must be at least 1")
    for name in UNREAD.get(args.what, ()):
        if getattr(args, name):
            raise UserError(f"{args.what} does not read --{name.replace('_', '-').replace('options', 'cfg-options')}")
    if args.what == "speed":
        return speed(args)
    if len(args.config) != 1:
        raise UserError(f"{args.what} needs one config of the benchmark, such as configs/benchmark/table1_tiny.py")
    (args.config,) = args.config
    work_dir = args.work_dir or Path("work_dirs") / Path(args.config).stem
    if args.what == "deploy":
        require("onnx")
        from mmsf.benchmark.deploy import benchmark_deploy

        files = dict(checkpoint=args.checkpoint, data_root=args.data_root)
        detectors = read_grid(args.config).part(detectors=args.detectors).with_files(**files).detectors
        timings = benchmark_deploy(detectors, work_dir, PRESETS, args.rounds or 20, partial(print, flush=True))
        if any(timing.problem for own in timings.values() for timing in own.values()):
            sys.exit(1)
        return
    benchmark = Benchmark(
        args.config,
        work_dir,
        PRESETS,
        part=dict(detectors=args.detectors, methods=args.methods, bits=args.bits, seeds=args.seeds),
        files=dict(checkpoint=args.checkpoint, data_root=args.data_root, calibration_root=args.calibration_root),
        options=args.options,
    )
    if args.what == "processes":
        failed = benchmark_processes(benchmark.runs, work_dir, partial(print, flush=True))
        if failed:
            sys.exit(1)
    elif args.what == "tables":
        print(benchmark.write_tables())
    elif args.what == "pack":
        path = benchmark.work_dir / "cells.tar.xz"
        print(f"{pack_cells(benchmark.runs, path)} cells in {path}")
    elif benchmark.run(partial(print, flush=True)):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
