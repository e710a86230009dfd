"""Write the list of LaneATT's anchors that fit most lanes of a config's training data, for `model.anchors`."""

import argparse
from inspect import signature
from pathlib import Path

import numpy as np
import torch

from mmsf.cli import run
from mmsf.engine.building import build
from mmsf.engine.config import read_config, require_keys
from mmsf.engine.weights import detector_type
from mmsf.errors import UserError
from mmsf.files import require_place, whole_or_absent
from mmsf.models.detectors.laneatt import LaneATT
from mmsf.models.losses.anchor_use import anchor_use
from mmsf.registry import DATASETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", metavar="CONFIG", help="float config of a LaneATT")
    parser.add_argument("--count", type=int, required=True, help="number of anchors")
    parser.add_argument("--out", type=Path, required=True, help="text file to write: numbers, the most used anchor first")
    arguments = parser.parse_args()
    if arguments.count < 1:
        raise UserError(f"--count {arguments.count} takes no anchor; give at least 1")
    config = read_config(arguments.config)
    require_keys(config, "model.type", "train_dataloader.dataset")
    if (kind := detector_type(config.model)) != "LaneATT":
        raise UserError(f"{arguments.config} is a config of {kind}, which has no such anchors; give a LaneATT's")
    require_place(arguments.out)
    torch.manual_seed(0)  # of the augmentation
    dataset = build(DATASETS, config.train_dataloader.dataset, "train_dataloader.dataset")
    if not getattr(dataset, "labelled", True):
        raise UserError("train_dataloader.dataset has labelled=False; anchors are chosen by labels")
    input_size = config.model.get("input_size", signature(LaneATT).parameters["input_size"].default)
    frames = (sample["data_samples"].gt_instances.input_lines for sample in dataset)
    counts = anchor_use(frames, input_size)
    chosen = np.argsort(-counts, kind="stable")[: arguments.count]
    with whole_or_absent(arguments.out) as temporary:
        np.savetxt(temporary, chosen, "%d", newline=" ")
    print(f"{arguments.out}: {len(chosen)} of the {(counts > 0).sum()} anchors that some lane is near to")


if __name__ == "__main__":
    run(main)
