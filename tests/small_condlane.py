"""CondLaneNet at a size for tests; weights by the golden files' rule, calibrated so that lanes appear."""

import goldens_rule
import torch
from mmengine.config import Config
from originals import ROOT
from small_detectors import scale_output
from torch import Tensor

from mmsf.models import CondLaneNet
from mmsf.registry import MODELS

INPUT_SIZE = (64, 160)
# What makes a config of `configs` small, below the detector's key.
SMALL = {
    "backbone.widths": (8, 8, 16, 16),
    "in_channels": (8, 16, 16),
    "channels": 8,
    "input_width": INPUT_SIZE[1],
    "max_seeds": 6,
    "adapter.input_size": INPUT_SIZE,
    "adapter.radius": 2.0,
}
# Standard deviation of a layer's output, in the order in which the layers run.
SPREADS = {
    "neck.trans_head.attn_layers.1.final_conv.bn": 1.0,
    "neck.fpn_convs.0.conv": 1.0,
    "neck.fpn_convs.1.conv": 1.0,
    "bbox_head.ctnet_head.hm.2": 1.5,
    "bbox_head.ctnet_head.params.2": 1.0,
    "bbox_head.mask_branch.2.bn": 1.0,
    "bbox_head.mlp.layers.1": 1.0,
}


def float_config(size: str = "small") -> Config:
    return Config.fromfile(str(ROOT / "configs" / "condlanenet" / f"condlanenet_{size}_culane.py"))


def small(**settings) -> CondLaneNet:
    """A small detector in eval mode; ``settings`` as `SMALL`."""
    config = Config(dict(model=float_config().model))
    config.merge_from_dict({f"model.{key}": value for key, value in {**SMALL, **settings}.items()})
    model = MODELS.build(config.model).eval()
    load_rule_weights(model)
    return model


@torch.no_grad()
def load_rule_weights(model: CondLaneNet, seed: int = 0) -> None:
    """Weights by the rule, calibrated: features, kernels and logits near unit size, some seeds, and lanes over some rows."""
    spec = [(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in model.state_dict().items()]
    state = goldens_rule.seeded_state_dict(spec, seed)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=True)
    inputs = images(2, seed=0)
    for name, spread in SPREADS.items():
        scale_output(model, name, spread, inputs)
    model.bbox_head.mlp.layers[1].bias += torch.tensor([0.0, 0.5])


def images(count: int, seed: int = 1, size: tuple[int, int] = INPUT_SIZE) -> Tensor:
    """(count, 3, H, W) normal noise."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))
