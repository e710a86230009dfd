"""GANet: key points anywhere on a lane, each pointing to where its lane starts."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.fpn import FPN
from mmsf.models.layers.lane_aggregation import LaneAwareAggregation
from mmsf.models.layers.trans_conv import TransConvEncoder
from mmsf.registry import MODELS

HEAT_MAP_BIAS = -2.19


class GANetNeck(FPN):
    """Feature pyramid, of which only the finest level is used: as summed up, and aggregated along lanes.

    Attention replaces the coarsest level before the pyramid. The aggregations and output convolutions of the coarser levels
    are in the originals' files only; they never run.

    Args:
        in_channels: Channels of the backbone's levels, finest first.
        channels: Channels of every level.
        aggregation_channels: Channels inside the aggregations.
        points: Points a cell of the levels' aggregations, finest first; those of coarser levels may be left out.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, aggregation_channels: int, points: Sequence[int]) -> None:
        super().__init__((*in_channels[:-1], channels), channels)
        self.trans_head = TransConvEncoder(in_channels[-1], channels)
        self.def_convs = nn.ModuleList(LaneAwareAggregation(channels, aggregation_channels, k) for k in points)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels [(B, C_i, H_i, W_i)], finest first, to three maps of the finest one's size.

        Returns:
            Features along lanes and plain ones, both (B, channels, H, W), and the points (B, 2K, H, W) that the first were
            read at, dy and dx in cells.
        """
        plain = self.merge([*levels[:-1], self.trans_head(levels[-1])])[0]
        aggregation = self.def_convs[0]
        points = aggregation.points(plain)
        return self.fpn_convs[0](aggregation(plain, points)), plain, points


class GANetHead(nn.Module):
    """The branches, each a 3x3 convolution, ReLU and a 1x1 convolution. Their keys are those of the originals' files.

    Args:
        channels: Channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def branch(name: str, outputs: int) -> nn.ModuleDict:
            layers = nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 1)
            return nn.ModuleDict({name: nn.Sequential(*layers)})

        self.centerpts_head = branch("hm", 1)
        self.keypts_head = branch("hm", 1)
        for heat_map in (self.centerpts_head["hm"], self.keypts_head["hm"]):
            # Most cells hold nothing: training starts at a probability of 0.1.
            nn.init.constant_(heat_map[-1].bias, HEAT_MAP_BIAS)
        self.offset_head = branch("offset_map", 2)
        self.reg_head = branch("offset_map", 2)

    def forward(self, along_lanes: Tensor, plain: Tensor) -> dict[str, Tensor]:
        """Key points from the aggregated features (B, C, H, W), offsets from the plain ones."""
        return {
            "kpts_hm_logit": self.keypts_head["hm"](along_lanes),
            "pts_offset": self.offset_head["offset_map"](plain),
            "int_offset": self.reg_head["offset_map"](plain),
        }


@MODELS.register_module()
class GANet(LaneDetector):
    """Global association of key points with the starts of their lanes.

    Raw outputs, on cells of 8 x 8 pixels: ``kpts_hm_logit`` (B, 1, h, w), that a key point of a lane lies in the cell,
    before the sigmoid; ``pts_offset`` (B, 2, h, w), dx and dy in cells to the start of its lane, the lower end;
    ``int_offset`` (B, 2, h, w), dx and dy in cells from the cell's corner to the key point.

    ``cpts_hm_logit`` (B, 1, h, w), starts, ``aux_feat`` (B, C, h, w), the features before their aggregation, and
    ``deform_points0`` (B, 2K, h, w), dy and dx in cells of the points it reads, serve the loss only.

    Args:
        backbone: Config of the backbone, its last three outputs at strides 8, 16 and 32.
        adapter: Config of the adapter.
        in_channels: Channels of these outputs.
        channels: Channels of the neck and the head.
        aggregation_channels: Channels inside the neck's aggregation.
        points: Points a cell of the levels' aggregations; only the first one runs, further ones may be left out.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.

    Source:
        Wang et al., "A Keypoint-based Global Association Network for Lane Detection", 2022.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        in_channels: Sequence[int] = (128, 256, 512),
        channels: int = 64,
        aggregation_channels: int = 256,
        points: Sequence[int] = (7, 5, 3),
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        self.backbone = MODELS.build(backbone)
        self.neck = GANetNeck(in_channels, channels, aggregation_channels, points)
        self.bbox_head = GANetHead(channels)

    def raw_outputs(self, images: Tensor, auxiliary: bool = False) -> dict[str, Tensor]:
        """Raw outputs of normalised images.

        Args:
            images: (B, 3, H, W); any size.
            auxiliary: Also give what serves the loss only.

        Returns:
            ``kpts_hm_logit``, ``pts_offset`` and ``int_offset``; with ``auxiliary`` also ``cpts_hm_logit``, ``aux_feat`` and
            ``deform_points0``.
        """
        along_lanes, plain, points = self.neck(self.run_backbone(images))
        raw = self.bbox_head(along_lanes, plain)
        if auxiliary:
            starts = self.bbox_head.centerpts_head["hm"](along_lanes)
            raw.update(cpts_hm_logit=starts, aux_feat=plain, deform_points0=points)
        return raw

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs with those that serve the loss only."""
        return self.raw_outputs(images, auxiliary=True)
