# A small BezierLaneNet for synthetic roads, 400 x 144. Its backbone starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/bezierlanenet.py",
    "../_base_/models/tiny.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=_base_.tiny_images,
    backbone=dict(_base_.tiny_backbone, _delete_=True, out_indices=(2,)),
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
