"""Quantize several detectors with several methods, and compare them in tables like the paper's.

python tools/benchmark.py grid configs/benchmark/table1_tiny.py --work-dir work_dirs/table1
python tools/benchmark.py tables configs/benchmark/table1_tiny.py --work-dir work_dirs/table1
python tools/benchmark.py deploy configs/benchmark/table1_tiny.py --work-dir work_dirs/deploy
python tools/benchmark.py processes configs/benchmark/ablation_tiny.py --methods best --work-dir work_dirs/processes
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.benchmark import Benchmark, read_grid
from mmsf.benchmark.processes import benchmark_processes
from mmsf.cli import add_config_options, run
from mmsf.deploy.description import require

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "_base_" / "ptq"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        choices=["grid", "tables", "deploy", "processes"],
        help="run what is not finished; tables alone; time integers; or compare one process with two",
    )
    parser.add_argument("config", help="config of the benchmark, such as configs/benchmark/table1_tiny.py")
    parser.add_argument("--work-dir", help="where cells and tables go; default work_dirs/<config>")
    parser.add_argument("--detectors", nargs="+", help="run these only")
    parser.add_argument("--methods", nargs="+", help="run these only")
    parser.add_argument("--bits", nargs="+", help="run at these bits, such as w4a4")
    parser.add_argument("--seeds", nargs="+", type=int, help="run with these seeds")
    parser.add_argument("--rounds", type=int, default=20, help="for deploy: how often each variant runs")
    parser.add_argument("--checkpoint", help="float weights, of a single detector")
    parser.add_argument("--data-root", help="folder of the data set, for all detectors")
    parser.add_argument("--calibration-root", nargs="+", help="folders of images to calibrate with, for all detectors")
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    work_dir = args.work_dir or Path("work_dirs") / Path(args.config).stem
    if args.what == "deploy":
        require("onnx")
        from mmsf.benchmark.deploy import benchmark_deploy

        files = dict(checkpoint=args.checkpoint, data_root=args.data_root, calibration_root=args.calibration_root)
        detectors = read_grid(args.config).part(detectors=args.detectors).with_files(**files).detectors
        timings = benchmark_deploy(detectors, work_dir, PRESETS, args.rounds, partial(print, flush=True))
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
    elif benchmark.run(partial(print, flush=True)):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
