"""RESA of pytorch-auto-drive, with a ResNet."""

from functools import partial

from mmsf.models.families import segmentation
from mmsf.models.families.family import Family

_NAMES = {
    "lane_classifier.layers.0.": "lane_classifier.conv.",
    "lane_classifier.layers.1.": "lane_classifier.bn.",
    "lane_classifier.layers_final.1.": "lane_classifier.classifier.",
}

RESA = Family(
    "RESA",
    ("spatial_conv.conv_d.",),
    partial(segmentation.rename, names=_NAMES),
    partial(segmentation.model_config, detector="RESA"),
)
