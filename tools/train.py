"""Train a float detector; or, with --preset and the float weights, train its quantized copy with labels.

python tools/train.py configs/lstr/lstr_tiny_synthetic.py
python tools/train.py configs/lstr/lstr_tiny_synthetic.py --preset lsq-plus --bits w4a4 --checkpoint FLOAT.pth
"""

import argparse
from pathlib import Path

from mmengine.config import Config

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_launcher, add_quantization_arguments, run
from mmsf.engine.building import build_runner
from mmsf.engine.config import apply_options, is_ptq, read_config, require_keys, set_roots
from mmsf.engine.processes import start
from mmsf.engine.ptq import quantize
from mmsf.errors import UserError

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "_base_" / "ptq"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_quantization_arguments(parser, "work_dirs/<config>")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work directory")
    add_launcher(parser)
    return parser.parse_args()


def train_float(config: Config, arguments: argparse.Namespace) -> None:
    """Train the float detector of a config."""
    if arguments.checkpoint is not None or arguments.calibration_root is not None:
        raise UserError("--checkpoint and --calibration-root are for quantization: give --preset lsq-plus --bits wXaY too")
    apply_options(config, arguments.options)
    require_keys(config, "model", "train_dataloader")
    set_roots(config, arguments.data_root, None)
    config.work_dir = arguments.work_dir or f"work_dirs/{Path(arguments.config).stem}"
    config.resume = arguments.resume
    if arguments.resume and (last := Path(config.work_dir, "last_checkpoint")).is_file():
        # It has a whole path, which is another one where the folder was moved or copied.
        newest = last.with_name(Path(last.read_text().strip()).name)
        if not newest.is_file():
            raise UserError(f"{last} names {newest.name}, which is not there; put it back or train without --resume")
        config.load_from = str(newest)
    start(config, arguments.launcher)
    build_runner(config).train()


def main() -> None:
    arguments = parse_arguments()
    config = read_config(arguments.config)
    if is_ptq(config) or arguments.preset is not None or arguments.bits is not None:
        quantize(**vars(arguments), presets=PRESETS)
    else:
        train_float(config, arguments)


if __name__ == "__main__":
    run(main)
