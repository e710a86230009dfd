"""Evaluate predicted lanes in CULane's layout: the official evaluator's counts, several times faster.

python tools/evaluate_culane.py --gt CULane --pred predictions --list CULane/list/test.txt
python tools/evaluate_culane.py --gt CULane --pred predictions --list CULane/list/test_split --processes 4 --json scores.json

A frame without a .lines.txt has no lanes. Precision is -1 without any prediction, recall -1 without any label, F1 -1 without
both, as the official evaluator prints them; its F1 "-nan", for no true positive at all, is 0 here.
"""

import argparse
import json
import sys
from pathlib import Path

from mmsf.cli import run
from mmsf.errors import UserError
from mmsf.evaluation.culane_files import evaluate_lists
from mmsf.files import require_place, whole_or_absent
from mmsf.lanes.culane import lines_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", required=True, help="folder of the annotations")
    parser.add_argument("--pred", required=True, help="folder of the predictions, laid out like the annotations")
    parser.add_argument(
        "--list",
        required=True,
        action="append",
        nargs="+",
        metavar="PATH",
        help="list file with one frame a line, or folder of category lists test<i>_<category>.txt; may be repeated",
    )
    parser.add_argument("--iou", type=float, default=0.5, help="least IoU of a true positive, exclusive (default: 0.5)")
    parser.add_argument("--width", type=int, default=30, help="thickness of the drawn lanes, pixels (default: 30)")
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        default=(1640, 590),
        metavar=("WIDTH", "HEIGHT"),
        help="size of the images, pixels (default: 1640 590)",
    )
    parser.add_argument("--processes", type=int, default=1, help="processes; does not change the counts (default: 1)")
    parser.add_argument(
        "--json", metavar="OUT", help="file to write counts and ratios to, overall, by category and by frame"
    )
    return parser.parse_args()


def main() -> None:
    """Parse the arguments, evaluate, print the table."""
    args = parse_args()
    if not 0 <= args.iou < 1:  # nor is it NaN
        raise UserError(f"--iou {args.iou:g} is no least IoU; give 0 or more, below 1")
    if args.processes < 1:
        raise UserError(f"--processes {args.processes} evaluate nothing; give at least 1")
    if not 1 <= args.width <= 1000:
        raise UserError(f"--width {args.width} is no thickness of a lane; give 1 to 1000 pixels")
    if min(args.image_size) < 1 or max(args.image_size) > 16384:
        raise UserError("--image-size needs a width and a height of 1 to 16384 pixels")
    if args.json:
        require_place(args.json)
    report = evaluate_lists(
        [path for paths in args.list for path in paths],
        args.gt,
        args.pred,
        args.processes,
        size=(args.image_size[1], args.image_size[0]),
        width=args.width,
        threshold=args.iou,
    )
    for role, folder in (("annotation", args.gt), ("prediction", args.pred)):
        if not any(lines_path(folder, name).exists() for name in report.frames):
            print(f"warning: no frame of the list has a file of {role}s in {folder}", file=sys.stderr)
    print(report.table())
    if args.json:
        with whole_or_absent(Path(args.json)) as temporary:
            temporary.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
