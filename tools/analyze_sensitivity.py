"""Where quantization hurts the lanes, by head, place and layer: figures and a report, no tuning.

python tools/analyze_sensitivity.py configs/ptq/lstr_tusimple_w4a4_selective-focus.py --checkpoint FLOAT --data-root DIR
"""

import argparse
from pathlib import Path

from mmengine.config import DictAction

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import run
from mmsf.engine.analyze import analyze_sensitivity

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "_base_" / "ptq"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="PTQ config, or a float config with --preset and --bits")
    parser.add_argument("--checkpoint", help="float weights, also an original project's file")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--calibration-root", nargs="+", help="further folders of unlabelled images to calibrate with")
    parser.add_argument("--preset", help="method to put on a float config, such as selective-focus")
    parser.add_argument("--bits", help="with --preset: w8a8, w8a4 or w4a4")
    parser.add_argument("--work-dir", help="where results go; default work_dirs/<config>_sensitivity")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={}, help="k=v pairs merged into the config")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    analyze_sensitivity(
        args.config,
        checkpoint=args.checkpoint,
        data_root=args.data_root,
        calibration_root=args.calibration_root,
        preset=args.preset,
        bits=args.bits,
        presets=PRESETS,
        work_dir=args.work_dir,
        options=args.cfg_options,
    )


if __name__ == "__main__":
    run(main)
