"""LSTR: lane shapes from a small transformer."""

import torch
from torch import Tensor, nn

from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.mlp import MLP
from mmsf.models.layers.position import SinePositionEmbedding
from mmsf.models.layers.transformer import Transformer
from mmsf.registry import MODELS


@MODELS.register_module()
class LSTR(LaneDetector):
    """Lane shape prediction with transformers.

    Raw outputs: ``logits`` (B, Q, K), class 0 being no lane and class 1 the lane; ``curves`` (B, Q, 8), normalised by the
    image's size: two vertical ends, k, f, m, n (the mean over the queries, the same for all), two of the query's own.
    ``aux0.logits`` and ``aux0.curves``, of the decoder's first layer, serve the loss only.

    Args:
        backbone: Config of the backbone; its last output is used.
        adapter: Config of the adapter.
        backbone_channels: Channels of that output.
        channels: Width of the transformer.
        feedforward_channels: Width inside its feed-forward networks.
        num_heads: Attention heads.
        num_queries: Lanes that can be found at most.
        num_classes: 2, or 3 for the authors' CULane weights, whose third class is unused.
        dropout: Dropout rate of the transformer.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.

    Source:
        Liu et al., "End-to-end Lane Shape Prediction with Transformers", 2021.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        backbone_channels: int,
        channels: int,
        feedforward_channels: int,
        num_heads: int = 2,
        num_queries: int = 7,
        num_classes: int = 2,
        dropout: float = 0.1,
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        self.backbone = MODELS.build(backbone)
        self.query_embed = nn.Embedding(num_queries, channels)
        self.input_proj = nn.Conv2d(backbone_channels, channels, 1)
        self.position = SinePositionEmbedding(channels)
        self.transformer = Transformer(channels, num_heads, feedforward_channels, dropout=dropout)
        self.class_embed = nn.Linear(channels, num_classes)
        self.specific_embed = MLP(channels, channels, 4, 3)
        self.shared_embed = MLP(channels, channels, 4, 3)

    def init_weights(self) -> None:
        """Initialise for training from scratch; the shared curve starts as nearly the same vertical line for all images."""
        super().init_weights()
        self.transformer.init_weights()
        with torch.no_grad():
            nn.init.normal_(self.query_embed.weight)
            last = self.shared_embed.layers[-1]
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.5]))

    def raw_outputs(self, images: Tensor, auxiliary: bool = False) -> dict[str, Tensor]:
        """Raw outputs of normalised images.

        Args:
            images: (B, 3, H, W); any size.
            auxiliary: Also give the outputs of the decoder's earlier layers.

        Returns:
            ``logits`` and ``curves``, with ``auxiliary`` also ``aux0.logits``, ``aux0.curves``.
        """
        return self._heads(self.run_backbone(images)[-1], auxiliary)

    def _heads(self, features: Tensor, auxiliary: bool) -> dict[str, Tensor]:
        projected = self.input_proj(features)
        position = self.position(projected)
        memory = projected.flatten(2).transpose(1, 2)
        layers = self.transformer(memory, position, self.query_embed.weight, every_layer=auxiliary)
        logits = self.class_embed(layers)
        specific = self.specific_embed(layers)
        # The road's shape is one for all lanes.
        shared = self.shared_embed(layers).mean(-2, keepdim=True).expand_as(specific)
        curves = torch.cat((specific[..., :2], shared, specific[..., 2:]), -1)
        raw = {"logits": logits[-1], "curves": curves[-1]}
        for index in range(len(layers) - 1):
            raw[f"aux{index}.logits"] = logits[index]
            raw[f"aux{index}.curves"] = curves[index]
        return raw

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs of every decoder layer."""
        features = self.run_backbone(images)[-1]
        # Curve numbers at half precision would be off by pixels.
        with torch.autocast(images.device.type, enabled=False):
            return self._heads(features.float(), auxiliary=True)
