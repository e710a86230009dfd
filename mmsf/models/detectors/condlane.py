"""CondLaneNet: one seed a lane, and a convolution made for each seed that finds the lane's column in every row."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.conv_norm_relu import ConvNormReLU
from mmsf.models.layers.dynamic_conv import PRIOR, DynamicConv
from mmsf.models.layers.fpn import FPN
from mmsf.models.layers.seeds import at_seeds, find_seeds, heat_of
from mmsf.models.layers.trans_conv import TransConvEncoder
from mmsf.registry import MODELS

STRIDE = 8  # of the masks; the heat map's is twice as large


class CondLaneNeck(FPN):
    """Attention in place of the coarsest level, then a feature pyramid, of which the two finer levels are used.

    The output convolution of the coarsest level is in the originals' files; it never runs.

    Args:
        in_channels: Channels of the backbone's levels, finest first.
        channels: Channels of every output.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__((*in_channels[:-1], channels), channels)
        self.trans_head = TransConvEncoder(in_channels[-1], channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels [(B, C_i, H_i, W_i)], finest first, to the two finer ones of the pyramid."""
        return super().forward([*levels[:-1], self.trans_head(levels[-1])], 2)


class RowRange(nn.Module):
    """Says of each row of a mask whether the lane reaches it, from the row's logits; so it is bound to their number.

    Args:
        columns: W, columns of the mask.
        hidden_channels: Width between the layers.
    """

    def __init__(self, columns: int, hidden_channels: int) -> None:
        super().__init__()
        layers = nn.Conv1d(columns, hidden_channels, 1), nn.Conv1d(hidden_channels, 2, 1)
        self.layers = nn.ModuleList(layers)

    def forward(self, masks: Tensor) -> Tensor:
        """Masks (B, K, H, W) to class logits of the rows (B, K, 2, H), class 1 being the lane."""
        first, last = self.layers
        return last(F.relu(first(masks.flatten(0, 1).transpose(1, 2)))).unflatten(0, masks.shape[:2])


class CondLaneHead(nn.Module):
    """Heat map, kernels, and what the kernels make at the seeds. Keys are those of the originals' files.

    Args:
        channels: C, channels of the features.
        columns: Columns of the masks.
        seed_threshold: As `CondLaneNet`.
        max_seeds: As `CondLaneNet`.
    """

    def __init__(self, channels: int, columns: int, seed_threshold: float, max_seeds: int) -> None:
        super().__init__()
        self.seed_threshold = seed_threshold
        self.max_seeds = max_seeds
        self.kernel_size = 2 + channels + 1

        def branch(outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 1))

        self.ctnet_head = nn.ModuleDict({"hm": branch(1), "params": branch(2 * self.kernel_size)})
        self.mask_branch = nn.Sequential(*(ConvNormReLU(channels, channels) for _ in range(3)))
        self.mask_conv = DynamicConv()
        self.offset_conv = DynamicConv()
        self.mlp = RowRange(columns, channels)

    def forward(self, fine: Tensor, coarse: Tensor, seeds: Tensor | None = None) -> dict[str, Tensor]:
        """Raw outputs of features (B, C, H, W) of stride 8 and (B, C, h, w) of stride 16, at seeds (B, K) or its own."""
        heat_logits, kernels = self.ctnet_head["hm"](coarse), self.ctnet_head["params"](coarse)
        if seeds is None:
            seeds = find_seeds(heat_of(heat_logits), self.seed_threshold, self.max_seeds)
        features = self.mask_branch(fine)
        # Where there is no seed all is zero, which every quantizer represents: it moves no range.
        taken = (seeds >= 0)[..., None, None]
        for_mask, for_offset = at_seeds(kernels, seeds).split(self.kernel_size, 2)
        mask = torch.where(taken, self.mask_conv(for_mask, features), 0.0)
        offset = torch.where(taken, self.offset_conv(for_offset, features), 0.0)
        return {
            "hm_logit": heat_logits,
            "params": kernels,
            "mask_branch": features,
            "seeds": seeds,
            "seed_mask": mask,
            "seed_reg": offset,
            "seed_range": self.mlp(mask),
        }


@MODELS.register_module()
class CondLaneNet(LaneDetector):
    """CondLaneNet, with the heads that its authors use for CULane.

    Raw outputs, the first three for the whole image: ``hm_logit`` (B, 1, h, w), that a lane begins (at its lower end) in a
    cell of 16 x 16 pixels, before the sigmoid; ``params`` (B, 2 (C + 3), h, w), the kernels that each such cell would have,
    for the mask and then for the offset; ``mask_branch`` (B, C, H, W), the features they are applied to, in cells of 8 x 8
    pixels.

    The others stand at K seeds, the peaks of the heat map: ``seeds`` (B, K), their cells in ascending order and -1 for
    none; ``seed_mask`` (B, K, H, W), logits of the lane's column in each row; ``seed_reg`` (B, K, H, W), the lane's distance
    to the right of a cell's left side, in cells; ``seed_range`` (B, K, 2, H), logits of whether the lane reaches a row,
    class 1. They are zero (``seed_range``: without meaning) where there is no seed. K does not depend on the picture, but
    which cells the seeds are does. To compare two models, the second is told the seeds of the first:
    ``raw_outputs(images, seeds)``.

    Args:
        backbone: Config of the backbone, its last three outputs at strides 8, 16 and 32.
        adapter: Config of the adapter.
        in_channels: Channels of these outputs.
        channels: C, channels of the neck and the head; a multiple of 4.
        input_width: Width of the network's input, pixels; the layers that judge the rows are built for it. Any height fits.
        seed_threshold: A seed's probability is larger.
        max_seeds: K. The authors have no limit; where a picture has more seeds, the most probable ones are taken.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.

    Source:
        Liu et al., "CondLaneNet: a Top-to-down Lane Detection Framework Based on Conditional Convolution", 2021.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        in_channels: Sequence[int] = (128, 256, 512),
        channels: int = 64,
        input_width: int = 800,
        seed_threshold: float = 0.5,
        max_seeds: int = 32,
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        self.columns = -(-input_width // STRIDE)
        self.backbone = MODELS.build(backbone)
        self.neck = CondLaneNeck(in_channels, channels)
        self.bbox_head = CondLaneHead(channels, self.columns, seed_threshold, max_seeds)

    def raw_outputs(self, images: Tensor, seeds: Tensor | None = None) -> dict[str, Tensor]:
        """Raw outputs of normalised images.

        Args:
            images: (B, 3, H, W).
            seeds: (B, K) seeds to use in place of the heat map's own.

        Raises:
            UserError: The images are not of the width that the detector is built for.
        """
        if -(-images.shape[-1] // STRIDE) != self.columns:
            raise UserError(
                f"CondLaneNet is built for an input about {self.columns * STRIDE} pixels wide but got {images.shape[-1]}; "
                "resize in the pipeline or set input_width"
            )
        fine, coarse = self.neck(self.run_backbone(images))
        return self.bbox_head(fine, coarse, seeds)

    def init_weights(self) -> None:
        """Beginnings of lanes start out improbable; then as ``init_cfg`` says."""
        nn.init.constant_(self.bbox_head.ctnet_head["hm"][-1].bias, -PRIOR)
        super().init_weights()

    def loss(self, images: Tensor, data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Named losses, at the seeds of the labelled lanes and not at the heat map's peaks; as `LaneDetector.loss`."""
        if self.loss_function is None:
            return super().loss(images, data_samples)  # which refuses
        lines = [sample.gt_instances.input_lines for sample in data_samples]
        targets = self.loss_function.targets(lines, tuple(images.shape[-2:]), images.device)
        raw = {name: output.float() for name, output in self.raw_outputs(images, targets.seeds).items()}
        with torch.autocast(images.device.type, enabled=False):
            return self.loss_function(raw, targets)
