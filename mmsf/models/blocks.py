"""Which modules of the detectors are blocks: parts of several layers that are best tuned together."""

from mmsf.models.backbones.resnet import BasicBlock
from mmsf.models.detectors.bezier import ColumnProjection
from mmsf.models.detectors.condlane import RowRange
from mmsf.models.layers.bottleneck import DilatedBottleneck
from mmsf.models.layers.existence import LaneExistence
from mmsf.models.layers.flip_fusion import FeatureFlipFusion
from mmsf.models.layers.lane_aggregation import LaneAwareAggregation
from mmsf.models.layers.mlp import MLP
from mmsf.models.layers.trans_conv import TransConvBlock
from mmsf.models.layers.transformer import DecoderLayer, EncoderLayer
from mmsf.models.layers.upsampling import NonBottleneck

# Residual blocks, transformer layers, and heads. The message passing of SCNN and RESA is none: it is a sequence as long as
# the map is high, and its layers are tuned one by one.
BLOCKS = (
    BasicBlock,
    DilatedBottleneck,
    NonBottleneck,
    EncoderLayer,
    DecoderLayer,
    TransConvBlock,
    FeatureFlipFusion,
    LaneAwareAggregation,
    ColumnProjection,
    LaneExistence,
    MLP,
    RowRange,
)
