"""Layers shared by detectors."""

from mmsf.models.layers.attention import MultiheadAttention
from mmsf.models.layers.matmul import MatMul

__all__ = ["MatMul", "MultiheadAttention"]
