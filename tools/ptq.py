"""Quantize a trained lane detector: ranges, tuning and evaluation in one run.

python tools/ptq.py configs/ptq/lstr_tusimple_w4a4_selective-focus.py --checkpoint LSTR_500000.pkl --data-root DIR
"""

import argparse
from pathlib import Path

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_launcher, add_quantization_arguments, run
from mmsf.engine.ptq import quantize

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "_base_" / "ptq"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_quantization_arguments(parser, "work_dirs/<config>")
    parser.add_argument("--bit-plan", help="JSON file: layer or pattern -> [weight bits, activation bits], 'float' allowed")
    parser.add_argument("--resume", action="store_true", help="go on where a stopped run in the work directory was")
    add_launcher(parser)
    return parser.parse_args()


def main() -> None:
    quantize(**vars(parse_args()), presets=PRESETS)


if __name__ == "__main__":
    run(main)
