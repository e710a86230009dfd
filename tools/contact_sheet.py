"""Draw the lanes of several detectors, float and quantized, over the same pictures, one detector a row."""

import argparse

import numpy as np

from mmsf.cli import run
from mmsf.datasets.images import read_image
from mmsf.engine.inferencer import LaneInferencer
from mmsf.files import require_place
from mmsf.visualization.overlay import side_by_side, write_image


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", nargs="+", required=True, help="pictures to look for lanes in")
    parser.add_argument(
        "--detector",
        nargs=4,
        action="append",
        required=True,
        metavar=("TITLE", "CONFIG", "FLOAT", "QUANTIZED"),
        help="name in the sheet, float config, float weights, quantized.pth; once a detector",
    )
    parser.add_argument("--out", required=True, help="picture to write, .jpg or .png")
    parser.add_argument("--width", type=int, default=480, help="width of a panel, pixels")
    return parser.parse_args()


def found_lanes(config: str, weights: str, pictures: list[str]) -> list[list[np.ndarray]]:
    inferencer = LaneInferencer(config, weights, show_progress=False)
    samples = inferencer(pictures, return_datasamples=True, overlay=False)["predictions"]
    return [sample.pred_instances.lines for sample in samples]


def main() -> None:
    arguments = parse_arguments()
    require_place(arguments.out)
    images = [read_image(picture) for picture in arguments.pictures]
    height = arguments.width * images[0].shape[0] / images[0].shape[1]  # of all panels
    rows = []
    for title, config, *weights in arguments.detector:
        names = (f"{title}, float", "quantized")
        lanes = [found_lanes(config, file, arguments.pictures) for file in weights]
        strips = [
            side_by_side(
                image,
                dict(zip(names, found)),
                reference=names[0],
                panel_width=round(height * image.shape[1] / image.shape[0]),
                columns=2,
            )
            for image, *found in zip(images, *lanes)
        ]
        lowest = min(strip.shape[0] for strip in strips)  # they differ by rounding
        rows.append(np.hstack([strip[:lowest] for strip in strips]))
    write_image(arguments.out, np.vstack(rows))


if __name__ == "__main__":
    run(main)
