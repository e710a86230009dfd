# A small LaneATT for synthetic roads, 400 x 144, that starts from the small LSTR's backbone. Its anchors are the 200 that
# fit most lanes of the training split, chosen by tools/choose_anchors.py.
_base_ = [
    "../_base_/models/laneatt.py",
    "../_base_/models/tiny.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=_base_.tiny_images,
    backbone=dict(_base_.tiny_backbone, _delete_=True, out_indices=(2,)),
    backbone_channels=64,
    stride=16,
    input_size=(144, 400),
    anchors="synthetic",
    anchor_channels=32,
    bfloat16_backbone=True,
    adapter=dict(input_width=400, nms_distance=31.25, length_quirk="original"),
)
