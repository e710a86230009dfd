"""BezierLaneNet's original files."""

from mmsf.models.families.family import Family, StateDict, replace_beginnings, resnet_config


def rename_bezier(state: StateDict) -> StateDict:
    """Keys of pytorch-auto-drive's BezierLaneNet, whose deformable convolution holds the layer of its offsets."""
    return replace_beginnings(state, {"simple_flip_2d.proj2_conv.conv_offset.": "simple_flip_2d.proj2_offset."})


def bezier_model_config(state: StateDict) -> dict:
    """Sizes of a BezierLaneNet, read off its weights. Dilations, adapter and preprocessing are the defaults."""
    backbone = resnet_config(state)
    return dict(
        type="BezierLaneNet",
        backbone=backbone,
        backbone_channels=backbone["widths"][-1],
        dilated_channels=state["dilated_blocks.0.conv2.0.weight"].shape[0],
        segmentation_channels=state["segmentation_head.conv_out.weight"].shape[1],
        adapter=dict(type="BezierAdapter"),
    )


BEZIER = Family("BezierLaneNet", ("proj_regression.", "simple_flip_2d."), rename_bezier, bezier_model_config)
