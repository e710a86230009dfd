"""Backbones."""

from mmsf.models.backbones.resnet import ResNet

__all__ = ["ResNet"]
