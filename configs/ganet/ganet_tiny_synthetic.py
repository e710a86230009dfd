# A small GANet for synthetic roads, 160 x 400 of the lower 320 rows of a frame. The backbone starts from the bundled LSTR's,
# whose fourth stage has one block more. Only the first level's aggregation exists: the others would never run.
_base_ = [
    "../_base_/models/ganet.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

input_size = (160, 400)
pipeline = [
    dict(type="LoadImage", scale=(400, 160), backend="pil", crop_top=270),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=(400, 160), backend="pil", crop_top=270, cache=True),
    dict(type="RandomFlip"),
    dict(type="RandomAffine", rotation=1.0, scale=(0.96, 1.04), shift=(0.03, 0.02), probability=0.7),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
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
        layers=(1, 2, 2, 1),
        widths=(16, 32, 64, 128),
        out_indices=(1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    in_channels=(32, 64, 128),
    channels=32,
    aggregation_channels=16,
    points=(7,),
    bfloat16_backbone=True,
    # Half the cells of CULane's input each way.
    adapter=dict(input_size=(160, 400), radius=2.5, min_points=5),
    loss=dict(key_points=23, lane_points=21),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
