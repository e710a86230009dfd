# GANet with ResNet-18 for CULane as its authors train it: 320 x 800 of the lower 320 rows of a frame.
_base_ = [
    "../_base_/models/ganet.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/ganet_60e.py",
    "../_base_/default_runtime.py",
]

input_size = (320, 800)
pipeline = [
    dict(type="LoadImage", scale=(800, 320), crop_top=270),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(batch_size=32, dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
