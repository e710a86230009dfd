# A small LaneATT for synthetic roads, 400 x 144, that starts from the small LSTR's backbone. Its anchors are the 200 that
# fit most lanes of the training split, chosen by tools/choose_anchors.py.
_base_ = [
    "../_base_/models/laneatt.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=dict(
        mean=[104.01362025, 114.03422265, 119.9165825],
        std=[73.6027614, 69.8910804, 70.91507925],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        _delete_=True,
        type="ResNet",
        layers=(1, 2, 2),
        widths=(16, 32, 64),
        out_indices=(2,),
        init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    backbone_channels=64,
    stride=16,
    input_size=(144, 400),
    anchors="synthetic",
    anchor_channels=32,
    bfloat16_backbone=True,
    adapter=dict(input_width=400, nms_distance=31.25, length_quirk="original"),
)
