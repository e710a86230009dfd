"""Where quantization hurts the lanes, by head, place and layer: figures and a report, no tuning.

python tools/analyze_sensitivity.py configs/ptq/lstr_tusimple_w4a4_selective-focus.py --checkpoint FLOAT --data-root DIR
"""

import argparse
from pathlib import Path

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_quantization_arguments, run
from mmsf.engine.analyze import analyze_sensitivity

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "_base_" / "ptq"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_quantization_arguments(parser, "work_dirs/<config>_sensitivity")
    return parser.parse_args()


def main() -> None:
    analyze_sensitivity(**vars(parse_args()), presets=PRESETS)


if __name__ == "__main__":
    run(main)
