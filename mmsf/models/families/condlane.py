"""CondLaneNet's original files, with the heads for CULane."""

from mmsf.models.families.family import Family, StateDict, count_batches, resnet_config


def condlane_model_config(state: StateDict) -> dict:
    """Sizes of a CondLaneNet, read off its weights.

    The input's height, thresholds and preprocessing are the defaults: weights do not tell them.
    """
    backbone = resnet_config(state)
    stages = len(backbone["layers"])
    width = 8 * state["bbox_head.mlp.layers.0.weight"].shape[1]
    return dict(
        type="CondLaneNet",
        backbone={**backbone, "out_indices": tuple(range(stages - 3, stages))},
        in_channels=backbone["widths"][-3:],
        channels=state["bbox_head.ctnet_head.hm.0.weight"].shape[0],
        input_width=width,
        adapter=dict(type="CondLaneAdapter", input_size=(320, width)),
    )


CONDLANE = Family("CondLaneNet", ("bbox_head.ctnet_head.",), count_batches, condlane_model_config)
