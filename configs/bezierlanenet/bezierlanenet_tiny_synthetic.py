# A small BezierLaneNet for synthetic roads, 400 x 144. Its backbone starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/bezierlanenet.py",
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
        layers=(1, 2, 2, 2),
        widths=(16, 32, 64, 128),
        out_indices=(2,),
        init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    backbone_channels=64,
    dilated_channels=32,
    segmentation_channels=16,
    bfloat16_backbone=True,
    # The same share of the columns as CULane's 9 of 50, and lines as wide against the cells of the lane map. The training is
    # short: curves and labels weigh more against the lane map.
    adapter=dict(window=5, threshold=0.5),
    loss=dict(curve_weight=5.0, label_weight=0.5, window=5, line_width=32.0),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"proj2_offset": dict(lr_mult=0.1)}))
