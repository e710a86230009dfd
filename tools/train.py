"""Train a float detector."""

import argparse
from pathlib import Path

from mmengine.config import DictAction
from mmengine.runner import Runner

from mmsf.cli import run
from mmsf.engine.config import apply_options, read_config, set_roots


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", metavar="CONFIG", help="float config, such as configs/lstr/lstr_tiny_synthetic.py")
    parser.add_argument("--work-dir", help="folder for logs and checkpoints; default work_dirs/<name of the config>")
    parser.add_argument("--data-root", help="folder of the data set, for every dataloader and evaluator")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work dir")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="starter of several processes"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="settings that replace the config's, key=value")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = read_config(arguments.config)
    apply_options(config, arguments.cfg_options or {})
    set_roots(config, arguments.data_root, None)
    config.work_dir = arguments.work_dir or f"work_dirs/{Path(arguments.config).stem}"
    config.resume = arguments.resume
    config.launcher = arguments.launcher
    Runner.from_cfg(config).train()


if __name__ == "__main__":
    run(main)
