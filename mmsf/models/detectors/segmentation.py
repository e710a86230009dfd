"""SCNN and RESA: every pixel is the background or belongs to one of the lane slots."""

from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.detectors.base import LaneDetector
from mmsf.models.layers.existence import ConvolutionalLaneExistence, LaneExistence
from mmsf.models.layers.recurrent_shift import RecurrentFeatureShift
from mmsf.models.layers.spatial_convolution import SpatialConvolution
from mmsf.models.layers.upsampling import BilateralDecoder
from mmsf.registry import MODELS


class ChannelReducer(nn.Module):
    """A 1x1 convolution, batch norm and ReLU.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, channels, H, W)."""
        return self.bn1(self.conv1(features)).relu()


class SegmentationDetector(LaneDetector):
    """What SCNN and RESA share.

    Raw outputs: ``out`` (B, 1 + slots, h, w), class logits of the pixels, class 0 being the background and class i + 1 the
    slot i, counted from the left; ``lane`` (B, slots), logits of the slots' existence.

    Args:
        backbone: Config of the backbone; its last output is used.
        adapter: Config of the adapter.
        backbone_channels: Channels of that output.
        input_size: Height and width of the network's input, pixels; the existence head is built for it.
        channels: Channels of the aggregated features.
        num_classes: 1 + slots.
        stride: Stride of the backbone's last output.
        **frame: ``loss``, ``data_preprocessor``, ``init_cfg``, ``bfloat16_backbone``; as `LaneDetector`.
    """

    def __init__(
        self,
        backbone: dict,
        adapter: dict,
        backbone_channels: int,
        input_size: tuple[int, int],
        channels: int = 128,
        num_classes: int = 5,
        stride: int = 8,
        **frame,
    ) -> None:
        super().__init__(adapter, **frame)
        self.backbone = MODELS.build(backbone)
        self.channel_reducer = ChannelReducer(backbone_channels, channels)
        self.input_size = tuple(input_size)
        self.stride = stride

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the aggregated features, cells."""
        return tuple(-(-length // self.stride) for length in self.input_size)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to features (B, channels, h, w), before aggregation.

        Raises:
            UserError: The images are not of ``input_size``.
        """
        if tuple(images.shape[-2:]) != self.input_size:
            raise UserError(
                f"{type(self).__name__} is built for an input of {self.input_size} (height, width) but got "
                f"{tuple(images.shape[-2:])}; resize in the pipeline or set input_size"
            )
        return self.channel_reducer(self.run_backbone(images)[-1])


@MODELS.register_module()
class SCNN(SegmentationDetector):
    """Spatial CNN. ``out`` has the features' resolution, (B, 5, 36, 100) for an input of 288 x 800.

    Args:
        **settings: As `SegmentationDetector`.

    Source:
        Pan et al., "Spatial As Deep: Spatial CNN for Traffic Scene Understanding", 2018; with a ResNet as in
        pytorch-auto-drive.
    """

    def __init__(self, channels: int = 128, num_classes: int = 5, **settings) -> None:
        super().__init__(channels=channels, num_classes=num_classes, **settings)
        self.scnn_layer = SpatialConvolution(channels)
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.lane_classifier = LaneExistence(num_classes, self.map_size)

    def raw_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """``out`` and ``lane`` of normalised images (B, 3, H, W)."""
        logits = self.classifier(self.scnn_layer(self.features(images)))
        return {"out": logits, "lane": self.lane_classifier(logits)}


@MODELS.register_module()
class RESA(SegmentationDetector):
    """RESA. ``out`` has eight times the features' resolution: the input's, rounded up to a multiple of 8, at stride 8.

    Args:
        **settings: As `SegmentationDetector`.

    Source:
        Zheng et al., "RESA: Recurrent Feature-Shift Aggregator for Lane Detection", 2021; pytorch-auto-drive's variant for
        CULane, with batch norm in the reducer, five iterations and another existence head.
    """

    def __init__(self, channels: int = 128, num_classes: int = 5, **settings) -> None:
        super().__init__(channels=channels, num_classes=num_classes, **settings)
        self.spatial_conv = RecurrentFeatureShift(channels)
        self.decoder = BilateralDecoder((channels, channels // 2, channels // 4, channels // 8), num_classes)
        self.lane_classifier = ConvolutionalLaneExistence(channels, num_classes, self.map_size)

    def raw_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """``out`` and ``lane`` of normalised images (B, 3, H, W)."""
        features = self.spatial_conv(self.features(images))
        return {"out": self.decoder(features), "lane": self.lane_classifier(features)}
