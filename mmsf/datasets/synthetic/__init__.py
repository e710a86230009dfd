"""Synthetic roads in CULane's layout, with labels that are exact."""

from mmsf.datasets.synthetic.frame import Frame, draw_frame
from mmsf.datasets.synthetic.scene import category_of
from mmsf.datasets.synthetic.splits import SPLITS, Split
from mmsf.datasets.synthetic.writer import frame_name, write_dataset

__all__ = ["SPLITS", "Frame", "Split", "category_of", "draw_frame", "frame_name", "write_dataset"]
