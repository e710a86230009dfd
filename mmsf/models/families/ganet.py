"""GANet's original files."""

from mmsf.models.families.family import Family, StateDict, count_batches, resnet_config


def ganet_model_config(state: StateDict) -> dict:
    """Sizes of a GANet, read off its weights. Adapter and preprocessing are the defaults: weights do not tell them."""
    backbone = resnet_config(state)
    stages = len(backbone["widths"])
    channels, aggregation_channels = state["neck.def_convs.0.reppoints_cls_conv.weight"].shape[:2]
    levels = sum(key.startswith("neck.def_convs.") and key.endswith("pts_init_out.weight") for key in state)
    return dict(
        type="GANet",
        backbone={**backbone, "out_indices": (stages - 3, stages - 2, stages - 1)},
        in_channels=tuple(backbone["widths"][-3:]),
        channels=channels,
        aggregation_channels=aggregation_channels,
        points=tuple(state[f"neck.def_convs.{i}.reppoints_pts_init_out.weight"].shape[0] // 2 for i in range(levels)),
        adapter=dict(type="GANetAdapter"),
    )


# The authors' keys are the ones used here.
GANET = Family("GANet", ("bbox_head.keypts_head.",), count_batches, ganet_model_config)
