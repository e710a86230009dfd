"""Layers shared by detectors."""

from mmsf.models.layers.attention import MultiheadAttention
from mmsf.models.layers.deform_conv import DeformConv2d
from mmsf.models.layers.matmul import MatMul

__all__ = ["DeformConv2d", "MatMul", "MultiheadAttention"]
