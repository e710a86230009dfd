"""Compare mmsf's AdaRound with AIMET's and with Brevitas's learned rounding: same detector, frames, placement and metric.

python tools/compare_peers.py configs/lstr/lstr_tiny_synthetic.py mmsf/zoo/lstr_tiny_synthetic.pth --bits w4a4
"""

import argparse
from functools import partial
from pathlib import Path

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.benchmark.comparison import Comparison
from mmsf.benchmark.peers import PEERS
from mmsf.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="float config")
    parser.add_argument("checkpoint", help="float weights")
    parser.add_argument("--bits", required=True, help="w8a8, w8a4 or w4a4")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), metavar="NAME", help=f"default: {' '.join(PEERS)}")
    parser.add_argument("--frames", type=int, help="calibration frames; default: the config's number")
    parser.add_argument("--iterations", type=int, help="of every layer, mmsf's too; default: everyone's own")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--calibration-root", nargs="+", help="folders of images to calibrate with")
    parser.add_argument("--work-dir", default="work_dirs/peers", help="environments and results; default %(default)s")
    return parser.parse_args()


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    comparison = Comparison(root=root, **vars(parse_args()))
    print(f"\n{comparison.run(partial(print, flush=True))}\nresults in {comparison.work_dir}")


if __name__ == "__main__":
    run(main)
