"""Write synthetic roads in CULane's layout: pictures, exact lane labels, lists of all frames and of the nine categories.

Either the four fixed splits (train, tuning, calibration, scored), each into a folder of its name below OUT, or any number of
frames of a seed into OUT.
"""

import argparse
import os
from pathlib import Path

from mmsf.cli import run
from mmsf.datasets.synthetic import SPLITS, write_dataset
from mmsf.errors import UserError


def main() -> None:
    """Parse the arguments and write the data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", nargs="*", choices=sorted(SPLITS), help="fixed splits to write; all without a name")
    parser.add_argument("--frames", type=int, help="number of frames; fewer are a prefix of more")
    parser.add_argument("--seed", type=int, help="number of the data set; two seeds share no frame")
    parser.add_argument("--out", required=True, help="folder to write to; an interrupted run of the same seed is continued")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    own = (arguments.frames, arguments.seed)
    if (None in own) if arguments.splits is None else (own != (None, None)):
        raise UserError("give either --splits, or --frames and --seed")
    if arguments.splits is None:
        jobs = [(Path(arguments.out), arguments.frames, arguments.seed)]
    else:
        names = arguments.splits or list(SPLITS)
        jobs = [(Path(arguments.out) / name, SPLITS[name].frames, SPLITS[name].seed) for name in names]
    for out, frames, seed in jobs:
        write_dataset(out, frames, seed, arguments.workers, lambda line: print(line, flush=True))


if __name__ == "__main__":
    run(main)
