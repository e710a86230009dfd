"""SCNN of pytorch-auto-drive, with a ResNet."""

from functools import partial

from mmsf.models.families import segmentation
from mmsf.models.families.family import Family

SCNN = Family(
    "SCNN",
    ("scnn_layer.",),
    partial(segmentation.rename, names={"classifier.0.conv.": "classifier."}),
    partial(segmentation.model_config, detector="SCNN"),
)
