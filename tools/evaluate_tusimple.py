"""Evaluate predicted lanes in TuSimple's JSON format by the official rules.

python tools/evaluate_tusimple.py --gt label_data.json --pred predictions.json

Both files hold one object a line. Predictions name raw_file, lanes and run_time (milliseconds; a frame slower than 200
counts as missed) for every labelled frame; their lanes are x-positions on the labels' h_samples, or on h_samples of their
own that include the labels'.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from mmsf.cli import run
from mmsf.evaluation.tusimple_score import SLOWEST, TuSimpleScore, mean_score, score_frames
from mmsf.files import require_place, whole_or_absent
from mmsf.lanes.tusimple import read_frames


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", required=True, help="label file")
    parser.add_argument("--pred", required=True, help="prediction file")
    parser.add_argument("--json", metavar="OUT", help="file to write the figures to, over all and by frame")
    return parser.parse_args()


def figures(scores: dict[str, TuSimpleScore]) -> dict[str, float]:
    """The mean over the frames, by name."""
    mean = mean_score(scores.values())
    return {"accuracy": mean.accuracy, "FP": mean.fp, "FN": mean.fn, "F1": mean.f1}


def main() -> None:
    """Parse the arguments, evaluate, print the figures."""
    args = parse_args()
    if args.json:
        require_place(args.json)
    labelled, predicted = read_frames(args.gt), read_frames(args.pred, h_samples=False, run_time=True)
    scores = score_frames(labelled, predicted)
    mean = figures(scores)
    print("\n".join(f"{name:9}{value:.10f}" for name, value in mean.items()))
    if slow := sum(frame.run_time > SLOWEST for frame in predicted):
        timeless = figures(score_frames(labelled, [replace(frame, run_time=None) for frame in predicted]))
        print(
            f"warning: {slow} frames of {len(predicted)} took over {SLOWEST:g} ms and count as missed; without this rule "
            + ", ".join(f"{name} {value:.4f}" for name, value in timeless.items()),
            file=sys.stderr,
        )
    if args.json:
        frames = {name: {"accuracy": s.accuracy, "FP": s.fp, "FN": s.fn} for name, s in scores.items()}
        with whole_or_absent(Path(args.json)) as temporary:
            temporary.write_text(json.dumps({**mean, "frames": frames}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
