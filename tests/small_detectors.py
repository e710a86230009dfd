"""BezierLaneNet and LaneATT at a size for tests; weights by the golden files' rule, calibrated so that lanes appear."""

import goldens_rule
import torch
from mmengine.config import Config
from originals import ROOT
from torch import Tensor, nn

from mmsf.registry import MODELS

CONFIGS = {"bezier": "bezierlanenet/bezierlanenet_r{}_culane.py", "laneatt": "laneatt/laneatt_r{}_culane.py"}
# Standard deviation of a layer's output, in the order in which the layers run.
SPREADS = {
    "bezier": {
        "simple_flip_2d.proj2_offset": 1.0,
        "regression_head.hidden_norms.1": 1.0,
        "proj_classification": 3.0,
        "proj_regression": 0.05,
    },
    "laneatt": {"conv1": 1.0, "attention_layer": 1.0, "cls_layer": 2.0, "reg_layer": 5.0},
}
INPUT_SIZE = {"bezier": (64, 160), "laneatt": (96, 160)}
# What makes a config of `configs` small, below the detector's key.
SMALL = {
    "bezier": {
        "backbone.widths": (8, 8, 16),
        "backbone_channels": 16,
        "dilated_channels": 8,
        "segmentation_channels": 8,
        "adapter.threshold": 0.5,
    },
    "laneatt": {
        "backbone.widths": (8, 8, 16, 16),
        "backbone_channels": 16,
        "anchor_channels": 8,
        "input_size": INPUT_SIZE["laneatt"],
        "anchors": list(range(0, 2784, 29)),
        "adapter.input_width": INPUT_SIZE["laneatt"][1],
        "adapter.nms_distance": 12.5,
    },
}


def float_config(family: str, depth: int = 18) -> Config:
    return Config.fromfile(str(ROOT / "configs" / CONFIGS[family].format(depth)))


def small(family: str, **settings) -> nn.Module:
    """A small detector in eval mode; ``settings`` as `SMALL`."""
    config = Config(dict(model=float_config(family).model))
    config.merge_from_dict({f"model.{key}": value for key, value in {**SMALL[family], **settings}.items()})
    model = MODELS.build(config.model)
    load_rule_weights(model, family)
    return model.eval()


def load_rule_weights(model: nn.Module, family: str, seed: int = 0) -> None:
    """Weights by the rule, calibrated: features and logits near unit size, and lanes that run upwards."""
    spec = [(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in model.state_dict().items()]
    state = goldens_rule.seeded_state_dict(spec, seed)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=True)
    model.eval()
    size = getattr(model, "input_size", INPUT_SIZE[family])
    inputs = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    for name, spread in SPREADS[family].items():
        scale_output(model, name, spread, inputs)
    with torch.no_grad():
        if family == "bezier":
            # Control points on the way from the lower border to the horizon.
            model.proj_regression.bias.copy_(torch.tensor([0.3, 1.0, 0.35, 0.75, 0.4, 0.55, 0.5, 0.35]))
        else:
            model.reg_layer.bias[0] = 50.0


@torch.no_grad()
def scale_output(model: nn.Module, name: str, spread: float, inputs: Tensor) -> None:
    """Scale weight and bias of a layer so that its output has this standard deviation."""
    layer, seen = model.get_submodule(name), []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(inputs)
    handle.remove()
    for parameter in layer.parameters():
        parameter *= spread / seen[0].std()


def images(family: str, count: int, seed: int = 1) -> Tensor:
    """(count, 3, H, W) normal noise."""
    return torch.randn(count, 3, *INPUT_SIZE[family], generator=torch.Generator().manual_seed(seed))
