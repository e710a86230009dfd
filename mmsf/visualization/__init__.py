"""Pictures for people: overlays of lanes, sensitivity figures, tables, the HTML report."""

from mmsf.visualization.advice import next_step
from mmsf.visualization.foreground import foreground_figure
from mmsf.visualization.overlay import (
    PALETTE,
    Frame,
    draw_lanes,
    draw_marks,
    short_name,
    side_by_side,
    write_image,
    write_overlays,
)
from mmsf.visualization.report import write_report
from mmsf.visualization.sensitivity import (
    curves_figure,
    figures,
    layers_figure,
    losses_figure,
    svg,
    timeline_figure,
    write_figure,
)
from mmsf.visualization.table import main_metrics, results_table

__all__ = [
    "PALETTE",
    "Frame",
    "curves_figure",
    "draw_lanes",
    "draw_marks",
    "figures",
    "foreground_figure",
    "layers_figure",
    "losses_figure",
    "main_metrics",
    "next_step",
    "results_table",
    "short_name",
    "side_by_side",
    "svg",
    "timeline_figure",
    "write_figure",
    "write_image",
    "write_overlays",
    "write_report",
]
