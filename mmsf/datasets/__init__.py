"""Datasets and transforms."""

from mmsf.datasets.augmentation import PhotometricJitter, RandomAffine, RandomFlip
from mmsf.datasets.base import LaneDataset
from mmsf.datasets.culane import CULaneDataset
from mmsf.datasets.line_detection import PackAs, ToLineDetection
from mmsf.datasets.loading import LoadImage, PackLaneInputs
from mmsf.datasets.spread import SpreadDataset
from mmsf.datasets.tusimple import TuSimpleDataset
from mmsf.datasets.unlabelled import CalibrationDataset, ImageFolderDataset

__all__ = [
    "CULaneDataset",
    "CalibrationDataset",
    "ImageFolderDataset",
    "LaneDataset",
    "LoadImage",
    "PackAs",
    "PackLaneInputs",
    "PhotometricJitter",
    "RandomAffine",
    "RandomFlip",
    "SpreadDataset",
    "ToLineDetection",
    "TuSimpleDataset",
]
