"""Write a quantized detector for a backend, as ONNX, and check that it computes the same lanes.

python tools/export.py configs/ptq/lstr_tusimple_w8a8_selective-focus.py work_dirs/lstr/quantized.pth \\
    --backend onnxruntime --out lstr.onnx --data-root PATH/tusimple
"""

import argparse

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_config_options, run
from mmsf.deploy.description import BACKENDS, require


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="float or PTQ config: the frames of the check")
    parser.add_argument("weights", help="quantized.pth, quantized in the backend's profile (model.quantizer.profile)")
    parser.add_argument("--backend", required=True, choices=BACKENDS)
    parser.add_argument("--out", required=True, help="the .onnx file; it stands only if the check succeeds")
    parser.add_argument("--frames", type=int, default=16, help="frames of the check")
    parser.add_argument("--checkpoint", help="float weights, to measure quantization's error against")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--simulated", action="store_true", help="allow bits that the backend has no numbers for")
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    require("onnx")
    from mmsf.deploy.export import export

    export(**vars(args))


if __name__ == "__main__":
    run(main)
