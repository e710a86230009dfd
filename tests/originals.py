"""How the golden files of each family are read.

A later family adds one entry to ``ORIGINALS``; a golden file of a family without an entry fails by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmsf.lanes.lane import Lane
from mmsf.models.layers.line_anchors import chosen_anchors
from mmsf.models.layers.seeds import find_seeds

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Original:
    """How a family's golden files are read.

    Attributes:
        config: Float config, from the folder configs.
        family: Name in `mmsf.models.checkpoints.FAMILIES`.
        ori_shape: Image whose pixels the golden lanes are in.
        raw_name: Golden name of a raw output to ours.
        raw_value: Golden raw output of a post-processing case to ours; gets the golden's name and the value.
        added: Raw outputs that post-processing cases lack, from those that they have.
        module: Golden name of a feature to the path of our module.
        layout: Our feature or raw output to the golden's layout; gets the golden's name and the value.
        raw_outputs: Runs the model, with the outputs that only training uses.
        lanes: Golden lanes to what a `Lane` holds.
        constant: Value of one of our constants that no checkpoint holds, by its golden name.
    """

    config: str
    family: str
    ori_shape: tuple[int, int]
    raw_name: Callable[[str], str] = field(default=lambda name: name)
    raw_value: Callable[[str, Tensor], Tensor] = field(default=lambda name, value: value)
    added: Callable[[dict[str, Tensor]], dict[str, Tensor]] = field(default=lambda raw: {})
    module: Callable[[str], str] = field(default=lambda name: name)
    layout: Callable[[str, Tensor], Tensor] = field(default=lambda name, value: value)
    raw_outputs: Callable[[nn.Module, Tensor], dict[str, Tensor]] = field(default=lambda model, images: model(images))
    lanes: Callable[[list[np.ndarray]], list[np.ndarray]] = field(default=lambda lanes: lanes)
    constant: Callable[[nn.Module, str], Tensor] | None = None


def _sequence_first(name: str, value: Tensor) -> Tensor:
    """The originals' transformers are sequence first, (S, B, D) and (L, Q, B, D); ours are batch first."""
    return value.transpose(-3, -2) if name.startswith("transformer.") else value


def _seen(lanes: list[np.ndarray]) -> list[np.ndarray]:
    """Without the points that TuSimple's format marks as unseen by x = -2, and without lanes of fewer than two points."""
    seen = [lane[lane[:, 0] != -2] for lane in lanes]
    return [lane for lane in seen if len(lane) >= 2]


def _pytorch_auto_drive_lstr(config: str) -> Original:
    return Original(
        config,
        "lstr",
        (590, 1640),
        layout=_sequence_first,
        raw_outputs=lambda model, x: model.raw_outputs(x, auxiliary=True),
    )


def _authors_lstr(config: str, ori_shape: tuple[int, int]) -> Original:
    return Original(
        config,
        "lstr",
        ori_shape,
        raw_name=lambda name: name.replace("pred_", ""),
        module=lambda name: f"backbone.{name}" if name.startswith("layer") else name,
        layout=_sequence_first,
        raw_outputs=lambda model, x: model.raw_outputs(x, auxiliary=True),
        lanes=_seen,
    )


def _pytorch_auto_drive_segmentation(family: str, depth: int) -> Original:
    return Original(f"{family}/{family}_r{depth}_culane.py", family, (590, 1640))


def _pytorch_auto_drive_bezier(depth: int) -> Original:
    return Original(
        f"bezierlanenet/bezierlanenet_r{depth}_culane.py",
        "bezier",
        (590, 1640),
        raw_outputs=lambda model, x: model.raw_outputs(x, auxiliary=True),
    )


def _laneatt_anchors(model: nn.Module, name: str) -> Tensor:
    """Vertical and horizontal start of each anchor, and its x-positions at the rows of the output or of the features."""
    anchors = chosen_anchors("culane")
    xs = model.anchor_xs if name == "anchors" else torch.from_numpy(anchors.xs(model.pooling.rows, model.input_size[1]))
    starts = torch.from_numpy(np.stack((anchors.start_y, anchors.start_x), 1))
    return torch.cat((starts, xs), 1)


def _pytorch_auto_drive_laneatt(depth: int) -> Original:
    """The original joins the anchors of all images in one axis."""
    return Original(
        f"laneatt/laneatt_r{depth}_culane.py",
        "laneatt",
        (590, 1640),
        layout=lambda name, value: value.flatten(0, 1) if name == "attention_layer" else value,
        constant=_laneatt_anchors,
    )


def _ganet(size: str) -> Original:
    """Post-processing cases hold probabilities of the key points."""
    return Original(
        f"ganet/ganet_{size}_culane.py",
        "ganet",
        (590, 1640),
        raw_name=lambda name: "kpts_hm_logit" if name == "kpts_hm" else name,
        raw_value=lambda name, value: value.logit() if name == "kpts_hm" else value,
        raw_outputs=lambda model, x: model.raw_outputs(x, auxiliary=True),
    )


def _condlane_seeds(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Without the places that no seed of the one image takes."""
    raw = model(images)
    count = int((raw["seeds"] >= 0).sum())
    return {name: value[:, :count] if name.startswith("seed") else value for name, value in raw.items()}


def _condlane(size: str) -> Original:
    """Goldens are of one image, without its axis at the seeds; post-processing cases hold probabilities of the heat map."""
    return Original(
        f"condlanenet/condlanenet_{size}_culane.py",
        "condlane",
        (590, 1640),
        raw_name=lambda name: "hm_logit" if name == "hm" else f"seed_{name}" if name in ("mask", "reg", "range") else name,
        raw_value=lambda name, value: value.logit() if name == "hm" else value[None],
        added=lambda raw: {"seeds": find_seeds(raw["hm_logit"].sigmoid(), 0.5, raw["seed_mask"].shape[1])},
        layout=lambda name, value: value[0] if name.startswith("seed_") else value,
        raw_outputs=_condlane_seeds,
    )


# Beginning of a golden file's name -> how to read it; the longest that fits counts.
ORIGINALS = {
    "lstr_small": _pytorch_auto_drive_lstr("lstr/lstr_r18s-2x_culane.py"),
    "lstr_mid": _pytorch_auto_drive_lstr("lstr/lstr_r34_culane.py"),
    "lstr_post": _pytorch_auto_drive_lstr("lstr/lstr_r18s-2x_culane.py"),
    "lstr_orig": _authors_lstr("lstr/lstr_r18s-1x_tusimple.py", (720, 1280)),
    "lstr_orig_tusimple_real": _authors_lstr("lstr/lstr_r18s-1x_tusimple.py", (720, 1280)),
    "lstr_orig_culane_real": _authors_lstr("lstr/lstr_r18s-1x_culane.py", (590, 1640)),
    "bezier_small": _pytorch_auto_drive_bezier(18),
    "bezier_mid": _pytorch_auto_drive_bezier(34),
    "bezier_post": _pytorch_auto_drive_bezier(18),
    "laneatt_small": _pytorch_auto_drive_laneatt(18),
    "laneatt_mid": _pytorch_auto_drive_laneatt(34),
    "laneatt_post": _pytorch_auto_drive_laneatt(18),
    "scnn_small": _pytorch_auto_drive_segmentation("scnn", 18),
    "scnn_mid": _pytorch_auto_drive_segmentation("scnn", 34),
    "scnn_post": _pytorch_auto_drive_segmentation("scnn", 18),
    "resa_small": _pytorch_auto_drive_segmentation("resa", 18),
    "resa_mid": _pytorch_auto_drive_segmentation("resa", 34),
    "resa_post": _pytorch_auto_drive_segmentation("resa", 18),
    "condlane_small": _condlane("small"),
    "condlane_medium": _condlane("medium"),
    "condlane_post": _condlane("small"),
    "ganet_small": _ganet("small"),
    "ganet_medium": _ganet("medium"),
    "ganet_post": _ganet("small"),
}


def original_of(path: Path) -> Original:
    names = [name for name in ORIGINALS if path.stem.startswith(name)]
    if not names:
        pytest.fail(f"{path.name}: no detector of this family is built; add it to ORIGINALS")
    return ORIGINALS[max(names, key=len)]


def config_of(original: Original) -> Config:
    return Config.fromfile(str(ROOT / "configs" / original.config))


def assert_lanes_equal(lanes: list[Lane], golden: list[np.ndarray], tolerance: float) -> None:
    assert [len(lane) for lane in lanes] == [len(points) for points in golden]
    for lane, points in zip(lanes, golden):
        np.testing.assert_allclose(lane.points, points, rtol=0, atol=tolerance)
