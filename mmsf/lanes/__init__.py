"""Lane geometry: lanes and their rows, how far they moved, line NMS, the text formats of CULane and TuSimple."""

from mmsf.lanes import culane, tusimple
from mmsf.lanes.crop import rows_cut
from mmsf.lanes.distortion import DistortionRule, LaneDistortion, frames_distortion, lane_distortion
from mmsf.lanes.lane import Lane
from mmsf.lanes.nms import line_nms
from mmsf.lanes.rows import frames_to_rows, lanes_to_rows, row_grid

__all__ = [
    "DistortionRule",
    "Lane",
    "LaneDistortion",
    "culane",
    "frames_distortion",
    "frames_to_rows",
    "lane_distortion",
    "lanes_to_rows",
    "line_nms",
    "row_grid",
    "rows_cut",
    "tusimple",
]
