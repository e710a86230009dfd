# A small CondLaneNet for synthetic roads: 160 x 400 of the lower 320 rows of a frame, half of its authors' width and height,
# and so half of their distances in cells. The backbone is LSTR's without its last block, and starts from its weights.
_base_ = [
    "../_base_/models/condlanenet.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

input_size = (160, 400)
model = dict(
    data_preprocessor=dict(
        mean=[104.01362025, 114.03422265, 119.9165825],
        std=[73.6027614, 69.8910804, 70.91507925],
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
    input_width=400,
    max_seeds=16,
    bfloat16_backbone=True,
    adapter=dict(input_size=input_size, radius=2.0, best_seed=True, nearest_column=True),
    loss=dict(radius=3, band=6.0),
)

load = dict(type="LoadImage", scale=input_size[::-1], backend="pil", crop_top=270)
pipeline = [load, dict(type="PackLaneInputs")]
train_pipeline = [
    {**load, "cache": True},
    dict(type="RandomFlip"),
    # The synthetic camera is mounted once for all frames: small moves only.
    dict(type="RandomAffine", rotation=1.0, scale=(0.96, 1.04), shift=(0.03, 0.02), probability=0.7),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
