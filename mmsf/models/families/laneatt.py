"""LaneATT's original files."""

from mmsf.models.families.family import Family, StateDict, replace_beginnings, resnet_config

# The authors' backbone is the list of a ResNet's children.
_CHILDREN = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}


def rename_laneatt(state: StateDict) -> StateDict:
    """Keys of the authors' LaneATT; pytorch-auto-drive's are the ones used here."""
    names = {f"feature_extractor.{number}.": f"backbone.{name}." for number, name in _CHILDREN.items()}
    return replace_beginnings(state, names)


def laneatt_model_config(state: StateDict) -> dict:
    """Sizes of a LaneATT, read off its weights.

    Weights do not tell which anchors they belong to, nor the width of the input: 1000 are taken for CULane's, any other
    number for the first ones of all. Adapter and preprocessing are the defaults.
    """
    backbone = resnet_config(state)
    count, features = state["attention_layer.weight"].shape
    channels = state["conv1.weight"].shape[0]
    rows = features // channels
    return dict(
        type="LaneATT",
        backbone=backbone,
        backbone_channels=backbone["widths"][-1],
        input_size=(360, 640) if rows == 11 else (32 * rows, 640),
        anchors="culane" if count == 999 else list(range(count + 1)),
        anchor_channels=channels,
        rows=state["reg_layer.weight"].shape[0] - 1,
        adapter=dict(type="LaneATTAdapter"),
    )


LANEATT = Family("LaneATT", ("attention_layer.", "reg_layer."), rename_laneatt, laneatt_model_config)
