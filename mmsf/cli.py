"""What every command line shares: one clear line and exit status 2 for what a user can mend."""

import argparse
import errno
import logging
import os
import pickle
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

from mmengine.config import DictAction

from mmsf.errors import UserError
from mmsf.files import NO_ROOM
from mmsf.heap import keep_freed_memory
from mmsf.safe_globals import ONLY_WEIGHTS


class _Ignored(argparse.Action):
    """Takes a value and keeps nothing of it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        pass


def add_quantization_arguments(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """Add what every command that quantizes takes: config, weights, data, preset, work directory, settings.

    Args:
        parser: The command's parser.
        work_dir: The default work directory, for the help text.
    """
    parser.add_argument("config", help="PTQ config, or a float config with --preset and --bits")
    parser.add_argument("--checkpoint", help="float weights, also an original project's file")
    add_trust(parser)
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--calibration-root", nargs="+", help="further folders of unlabelled images to calibrate with")
    parser.add_argument("--preset", help="method to put on a float config, such as selective-focus")
    parser.add_argument("--bits", help="with --preset: w8a8, w8a4 or w4a4")
    parser.add_argument("--work-dir", help=f"where results go; default {work_dir}")
    add_config_options(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``, which says what it risks."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read the checkpoint even if it holds more than weights. DANGER: any code that its maker put into the file "
        "runs on this machine with your rights; only for a file whose maker you trust",
    )


class _Pairs(DictAction):
    """As MMEngine's; what is no pair is told in one line."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if wrong := [pair for pair in values if not pair.partition("=")[0] or "=" not in pair]:
            raise UserError(f"--cfg-options takes pairs K=V, without spaces around =; got {wrong[0]!r}")
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            raise UserError(f"--cfg-options {' '.join(values)}: {error}") from error


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, whose pairs are a dict in ``options``."""
    parser.add_argument(
        "--cfg-options",
        dest="options",
        nargs="+",
        action=_Pairs,
        default={},
        metavar="K=V",
        help="pairs merged into the config",
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, and take the rank that a launcher passes in the environment as well, without keeping it."""
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="starter of several processes"
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS, action=_Ignored
    )


def run(main: Callable[[], None]) -> None:
    """Call ``main``; turn a `UserError` into one line on standard error and exit status 2. So it does with a full disk.

    Nothing that the command reads as weights can run code, unless ``--trust-checkpoint`` says so. Memory that it frees stays
    with it.

    Args:
        main: The command, without arguments.
    """
    os.environ[ONLY_WEIGHTS] = "1"
    keep_freed_memory()
    logging.raiseExceptions = False  # a log that no longer fits on a full disk does not bury the line that says so
    try:
        main()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _stop(f"{error.filename}: {error.strerror}; give a shorter name")
        if error.errno not in NO_ROOM:
            raise
        _stop(f"{error.filename or 'a file'} cannot be written: {error.strerror}; free space or choose another folder")
    except pickle.UnpicklingError as error:
        _stop(f"a file cannot be read as weights alone: {str(error).splitlines()[0]}")
    except UserError as error:
        text = str(error)
        if text.startswith("Caught "):  # raised in a data loader's process: the message is the last line of its traceback
            text = text.rstrip().rpartition("\n")[2].partition(": ")[2]
        _stop(text)


def _stop(text: str) -> NoReturn:
    if _first_to_tell():
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


def _first_to_tell() -> bool:
    """Whether this process is the first to tell of an error, among those that a launcher has started."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return True
    import torch

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=10))
        return store.add("mmsf.errors", 1) == 1
    except (KeyError, RuntimeError):  # better twice than not at all
        return True
