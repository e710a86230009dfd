"""Write synthetic roads in CULane's layout: pictures, exact lane labels, lists of all frames and of the nine categories."""

import argparse
import os

from mmsf.cli import run
from mmsf.datasets.synthetic import write_dataset


def main() -> None:
    """Parse the arguments and write the data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, required=True, help="number of frames; fewer are a prefix of more")
    parser.add_argument("--seed", type=int, required=True, help="number of the data set; two seeds share no frame")
    parser.add_argument("--out", required=True, help="folder to write to; an interrupted run of the same seed is continued")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    write_dataset(arguments.out, arguments.frames, arguments.seed, arguments.workers, lambda line: print(line, flush=True))


if __name__ == "__main__":
    run(main)
