# A small LSTR for synthetic roads, 400 x 144: the authors' widths, trained in about an hour on a processor core. Measured on
# the 300 test frames: CULane F1 0.986. The weights are mmsf/zoo/lstr_tiny_synthetic.pth.
_base_ = [
    "../_base_/models/lstr.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/lstr_tiny.py",
    "../_base_/default_runtime.py",
]

input_size = (144, 400)
pipeline = [
    dict(type="LoadImage", scale=(400, 144), backend="pil"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=(400, 144), backend="pil", cache=True),
    dict(type="RandomFlip"),
    # The synthetic camera is mounted once for all frames: small moves only.
    dict(type="RandomAffine", rotation=1.0, scale=(0.96, 1.04), shift=(0.03, 0.02), probability=0.7),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]

model = dict(
    dropout=0.0,
    bfloat16_backbone=True,
    adapter=dict(threshold=0.5),
    loss=dict(curve_weight=20.0),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
