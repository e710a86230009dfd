# Synthetic roads whose lower 320 of 590 rows are seen: 160 x 400 pixels.
_base_ = ["./synthetic.py"]

input_size = (160, 400)
pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil", crop_top=270),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil", crop_top=270, cache=True),
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
