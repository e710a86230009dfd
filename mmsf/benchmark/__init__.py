"""Grids of detectors, methods, bits and seeds: run them, compare them, lay them beside the paper's tables."""

from mmsf.benchmark.command import Benchmark
from mmsf.benchmark.grid import Cell, Detector, Grid, Method, read_grid

__all__ = ["Benchmark", "Cell", "Detector", "Grid", "Method", "read_grid"]
