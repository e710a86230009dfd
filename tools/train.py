"""Train a float detector; or, with --preset and the float weights, train its quantized copy with labels.

python tools/train.py configs/lstr/lstr_tiny_synthetic.py
python tools/train.py configs/lstr/lstr_tiny_synthetic.py --preset lsq-plus --bits w4a4 --checkpoint FLOAT.pth
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_launcher, add_quantization_arguments, run
from mmsf.engine.building import build_runner
from mmsf.engine.config import apply_options, is_ptq, read_config, require_keys, set_roots
from mmsf.engine.processes import start
from mmsf.engine.ptq import quantize
from mmsf.errors import UserError
from mmsf.safe_globals import load

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
        name = Path(last.read_text().strip()).name
        if not name or not last.with_name(name).is_file():
            raise UserError(f"{last} names {name or 'nothing'}, which is not there; put it back or train without --resume")
        config.load_from = str(last.with_name(name))
        load(config.load_from)
    start(config, arguments.launcher)
    runner = build_runner(config)
    runner.load_or_resume = partial(_load_or_resume, runner, runner.load_or_resume)
    runner.train()


def _load_or_resume(runner: Runner, own: Callable[[], None]) -> None:
    """The runner's own, which may meet a checkpoint of another model or optimizer."""
    path = runner._load_from
    try:
        own()
    except (KeyError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} does not fit the config's model and optimizer: {said}") from error
    if isinstance(runner.optim_wrapper, OptimWrapper):
        optimizer = runner.optim_wrapper.optimizer
        if lacking := sorted(optimizer.defaults.keys() - optimizer.param_groups[0].keys()):
            raise UserError(f"{path} is of another optimizer than {type(optimizer).__name__}: it lacks {', '.join(lacking)}")


def main() -> None:
    arguments = parse_arguments()
    config = read_config(arguments.config)
    if is_ptq(config) or arguments.preset is not None or arguments.bits is not None:
        quantize(**vars(arguments), presets=PRESETS)
    else:
        train_float(config, arguments)


if __name__ == "__main__":
    run(main)
