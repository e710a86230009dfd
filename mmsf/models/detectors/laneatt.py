"""LaneATT: anchors that attend to each other."""

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.line_anchors import AnchorPooling, chosen_anchors, off_diagonal
from mmsf.models.layers.matmul import MatMul
from mmsf.registry import MODELS


@MODELS.register_module()
class LaneATT(LaneDetector):
    """Anchor lines, each scored and moved by its own features and those of all others.

    Raw outputs of N anchors at R rows, from the lower to the upper border: ``logits`` (B, N, 2), class 1 being the lane;
    ``offsets`` (B, N, R), x-positions in pixels of the network's input; ``lengths`` (B, N), in rows; ``starts`` (B, N), a
    constant: where the anchor begins, from the bottom up as a share of the height.

    Args:
        backbone: Config of the backbone, whose last output is used.
        adapter: Config of the adapter.
        backbone_channels: Channels of that output.
        input_size: Height and width of the network's input, pixels; anchors and layers are built for it.
        anchors: Which of the 2784 anchors, in which order: "culane", the 1000 that fit most lanes there; "synthetic", the
            200 of synthetic roads; a list of their numbers; or None for all.
        anchor_channels: Channels of an anchor's features in a row.
        rows: R.
        stride: Of the backbone's last output.
        start_in_length: Add the anchor's horizontal start, 0 to 1, to its length. Weights of pytorch-auto-drive are trained
            so, the authors' are not.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.

    Source:
        Tabelini et al., "Keep your Eyes on the Lane: Real-time Attention-guided Lane Detection", 2021.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        backbone_channels: int = 512,
        input_size: tuple[int, int] = (360, 640),
        anchors: str | list[int] | None = "culane",
        anchor_channels: int = 64,
        rows: int = 72,
        stride: int = 32,
        start_in_length: bool = True,
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        self.input_size = tuple(input_size)
        lines = chosen_anchors(anchors)
        xs = torch.from_numpy(lines.xs(rows, self.input_size[1]))
        self.register_buffer("anchor_xs", xs, persistent=False)
        self.register_buffer("anchor_starts", torch.from_numpy(lines.start_y).float(), persistent=False)
        added = torch.from_numpy(lines.start_x).float() * start_in_length
        self.register_buffer("anchor_lengths", added, persistent=False)
        self.backbone = MODELS.build(backbone)
        self.conv1 = nn.Conv2d(backbone_channels, anchor_channels, 1)
        self.pooling = AnchorPooling(lines, self.input_size, stride)
        width = anchor_channels * self.pooling.rows
        self.attention_layer = nn.Linear(width, len(lines) - 1)
        self.context = MatMul()
        self.cls_layer = nn.Linear(2 * width, 2)
        self.reg_layer = nn.Linear(2 * width, 1 + rows)

    def init_weights(self) -> None:
        """Start the layers behind the backbone near zero, so with the anchors as they are."""
        super().init_weights()
        for layer in (self.conv1, self.attention_layer, self.cls_layer, self.reg_layer):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs, and ``anchor_xs`` (N, R), where the anchors run."""
        return {**self.raw_outputs(images), "anchor_xs": self.anchor_xs}

    def foreground(
        self, raw: dict[str, Tensor], data_samples: list[DetDataSample], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """As `LaneDetector.foreground`; the rule looks at the anchors."""
        return super().foreground({**raw, "anchor_xs": self.anchor_xs}, data_samples, size)

    def raw_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """``logits``, ``offsets``, ``lengths`` and ``starts`` of normalised images (B, 3, H, W).

        Raises:
            UserError: The images are not of ``input_size``.
        """
        if tuple(images.shape[-2:]) != self.input_size:
            raise UserError(
                f"LaneATT is built for an input of {self.input_size} (height, width) but got {tuple(images.shape[-2:])}; "
                "resize in the pipeline or set input_size"
            )
        own = self.pooling(self.conv1(self.run_backbone(images)[-1]))
        attention = off_diagonal(self.attention_layer(own).softmax(-1))
        features = torch.cat((self.context(attention, own), own), -1)
        moved = self.reg_layer(features)
        return {
            "logits": self.cls_layer(features),
            "offsets": self.anchor_xs + moved[..., 1:],
            "lengths": self.anchor_lengths + moved[..., 0],
            "starts": self.anchor_starts.expand(images.shape[0], -1),
        }
