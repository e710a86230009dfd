"""What SCNN's and RESA's files share."""

from mmsf.models.families.family import StateDict, count_batches, replace_beginnings, resnet_config

# Cells of the pooled map -> the input size of pytorch-auto-drive's configs for CULane and TuSimple that has so many.
_INPUT_SIZES = {18 * 50: (288, 800), 22 * 40: (360, 640)}


def rename(state: StateDict, names: dict[str, str]) -> StateDict:
    """Rename the beginnings of keys in ``names``, and the existence head, which was ``aux_head`` in older files."""
    renamed = {key.replace("aux_head", "lane_classifier"): value for key, value in state.items()}
    return count_batches(replace_beginnings(renamed, names))


def model_config(state: StateDict, detector: str) -> dict:
    """Sizes of a detector, read off its weights.

    The weights tell only how many cells the existence head's map has: an unknown number gives an input of one pooled row.
    """
    num_classes = state["lane_classifier.linear2.weight"].shape[0] + 1
    cells = state["lane_classifier.linear1.weight"].shape[1] // num_classes
    input_size = _INPUT_SIZES.get(cells, (16, 16 * cells))
    backbone = resnet_config(state)
    return dict(
        type=detector,
        backbone=dict(**backbone, replace_stride_with_dilation=(False, True, True)),
        backbone_channels=backbone["widths"][-1],
        channels=state["channel_reducer.conv1.weight"].shape[0],
        num_classes=num_classes,
        input_size=input_size,
        adapter=dict(type="SegmentationAdapter", input_size=input_size),
    )
