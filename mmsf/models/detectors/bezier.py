"""BezierLaneNet: a cubic curve for every column of a feature map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.bottleneck import DilatedBottleneck
from mmsf.models.layers.flip_fusion import FeatureFlipFusion
from mmsf.registry import MODELS


class ColumnProjection(nn.Module):
    """Convolutions along the columns, each with batch norm and ReLU.

    Args:
        channels: Channels of input and output.
        num_layers: Convolutions.
    """

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.hidden_layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in range(num_layers))
        self.hidden_norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Q) to the same shape."""
        for layer, norm in zip(self.hidden_layers, self.hidden_norms):
            x = F.relu(norm(layer(x)))
        return x


class SegmentationBranch(nn.Module):
    """One lane logit a cell; helps in training only.

    Args:
        in_channels: Channels of the input.
        channels: Channels before the logit.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.conv.add_module("conv", nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
        self.conv.add_module("bn", nn.BatchNorm2d(channels))
        self.conv_out = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1, H, W)."""
        return self.conv_out(F.relu(self.conv(x)))


@MODELS.register_module()
class BezierLaneNet(LaneDetector):
    """Lanes as cubic Bezier curves, one for each of the Q columns of a feature map of stride 16.

    Raw outputs: ``logits`` (B, Q), that the column holds a lane, before the sigmoid; ``curves`` (B, Q, 4, 2), control points
    x and y, normalised by the image's size, also outside 0..1. ``segmentations`` (B, 1, h, w), lane logits of the feature
    map's cells, serve the loss only.

    Args:
        backbone: Config of the backbone; its last output is used.
        adapter: Config of the adapter.
        backbone_channels: Channels of that output.
        dilated_channels: Channels inside the dilated bottlenecks.
        dilations: Dilation of each of them.
        segmentation_channels: Channels inside the branch that serves the loss.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.

    Source:
        Feng et al., "Rethinking Efficient Lane Detection via Curve Modeling", 2022; pytorch-auto-drive's networks.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        backbone_channels: int = 256,
        dilated_channels: int = 64,
        dilations: tuple[int, ...] = (4, 8),
        segmentation_channels: int = 64,
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        channels = backbone_channels
        self.backbone = MODELS.build(backbone)
        self.dilated_blocks = nn.Sequential(*(DilatedBottleneck(channels, dilated_channels, d) for d in dilations))
        self.simple_flip_2d = FeatureFlipFusion(channels)
        self.regression_head = ColumnProjection(channels, 2)
        self.proj_classification = nn.Conv1d(channels, 1, 1)
        self.proj_regression = nn.Conv1d(channels, 8, 1)
        self.segmentation_head = SegmentationBranch(channels, segmentation_channels)

    def raw_outputs(self, images: Tensor, auxiliary: bool = False) -> dict[str, Tensor]:
        """Raw outputs of normalised images.

        Args:
            images: (B, 3, H, W); any size.
            auxiliary: Also run the branch that serves the loss only.

        Returns:
            ``logits`` and ``curves``, with ``auxiliary`` also ``segmentations``.
        """
        return self._heads(self.run_backbone(images)[-1], auxiliary)

    def _heads(self, features: Tensor, auxiliary: bool) -> dict[str, Tensor]:
        # Mean over the rows: what is left is a line of columns.
        columns = self.regression_head(self.simple_flip_2d(self.dilated_blocks(features)).mean(2))
        raw = {
            "logits": self.proj_classification(columns).squeeze(1),
            "curves": self.proj_regression(columns).transpose(1, 2).unflatten(2, (4, 2)),
        }
        if auxiliary:
            raw["segmentations"] = self.segmentation_head(features)
        return raw

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs with those that serve the loss only."""
        features = self.run_backbone(images)[-1]
        # Control points at half precision would be off by pixels.
        with torch.autocast(images.device.type, enabled=False):
            return self._heads(features.float(), auxiliary=True)
