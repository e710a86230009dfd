"""GANet at a size for tests; weights by the golden files' rule, calibrated so that lanes appear."""

import goldens_rule
import torch
from mmengine.config import Config
from originals import ROOT
from small_detectors import scale_output
from torch import Tensor

from mmsf.models import GANet
from mmsf.registry import MODELS

INPUT_SIZE = (64, 160)
# What makes a config of `configs` small, below the detector's key.
SMALL = {
    "backbone.widths": (8, 8, 16, 16),
    "in_channels": (8, 16, 16),
    "channels": 8,
    "aggregation_channels": 16,
    "adapter.input_size": INPUT_SIZE,
    "adapter.min_points": 2,
}
# Standard deviation of a layer's output, in the order in which the layers run.
SPREADS = {
    "neck.trans_head.attn_layers.1.final_conv.bn": 1.0,
    "neck.lateral_convs.0.conv": 1.0,
    "neck.def_convs.0.reppoints_pts_init_out": 2.0,
    "neck.def_convs.0.reppoints_cls_conv": 1.0,
    "neck.fpn_convs.0.conv": 1.0,
    "bbox_head.keypts_head.hm.2": 1.5,
    "bbox_head.offset_head.offset_map.2": 1.0,
    "bbox_head.reg_head.offset_map.2": 0.2,
}


def float_config(size: str = "small") -> Config:
    return Config.fromfile(str(ROOT / "configs" / "ganet" / f"ganet_{size}_culane.py"))


def small(**settings) -> GANet:
    """A small detector in eval mode; ``settings`` as `SMALL`."""
    config = Config(dict(model=float_config().model))
    config.merge_from_dict({f"model.{key}": value for key, value in {**SMALL, **settings}.items()})
    model = MODELS.build(config.model).eval()
    load_rule_weights(model)
    return model


@torch.no_grad()
def load_rule_weights(model: GANet, seed: int = 0) -> None:
    """Weights by the rule, calibrated: features and offsets near unit size, some key points, starts close to each other."""
    spec = [(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in model.state_dict().items()]
    state = goldens_rule.seeded_state_dict(spec, seed)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=True)
    inputs = images(1, seed=0)
    for name, spread in SPREADS.items():
        scale_output(model, name, spread, inputs)
    model.bbox_head.reg_head["offset_map"][2].bias += 0.5


def images(count: int, seed: int = 1, size: tuple[int, int] = INPUT_SIZE) -> Tensor:
    """(count, 3, H, W) normal noise."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))
