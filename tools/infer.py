"""Find lanes in images, folders and videos: python tools/infer.py CONFIG WEIGHTS INPUT... --out DIR."""

import argparse

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import run
from mmsf.engine.infer import FORMATS, infer
from mmsf.engine.inferencer import LaneInferencer
from mmsf.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="float or PTQ config: how images are prepared, and the model of float weights")
    parser.add_argument("weights", help="quantized.pth, an exported .onnx file, or float weights; the file tells which")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="culane",
        help="culane: a .lines.txt for each frame; tusimple: one predictions.json (default: culane)",
    )
    parser.add_argument(
        "--overlay", action=argparse.BooleanOptionalAction, default=True, help="draw the lanes (default: yes)"
    )
    parser.add_argument("--batch-size", type=int, help="frames that run together; default: the test dataloader's")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.batch_size is not None and args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size} takes no frame; give at least 1")
    count = infer(
        LaneInferencer(args.config, args.weights), args.inputs, args.out, args.format, args.overlay, args.batch_size
    )
    print(f"lanes of {count} frames in {args.out}")


if __name__ == "__main__":
    run(main)
