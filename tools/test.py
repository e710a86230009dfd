"""Evaluate float, quantized or exported weights: python tools/test.py CONFIG WEIGHTS [--data-root DIR]."""

import argparse

import mmsf  # noqa: F401  a child config's custom_imports may have replaced the one that names mmsf
from mmsf.cli import add_config_options, add_launcher, run
from mmsf.engine.evaluate import evaluate


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="float or PTQ config: the frames, the metrics, and the model of float weights")
    parser.add_argument("weights", help="quantized.pth, an exported .onnx file, or float weights; the file tells which")
    parser.add_argument("--data-root", help="folder of the data set")
    parser.add_argument("--runtime", choices=["onnxruntime", "openvino"], help="of an exported file; default its backend's")
    parser.add_argument("--work-dir", help="where the log goes; default work_dirs/<config>")
    add_config_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def main() -> None:
    evaluate(**vars(parse_args()))


if __name__ == "__main__":
    run(main)
