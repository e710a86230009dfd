# pytorch-auto-drive's LaneATT with ResNet-18 for CULane, 360 x 640.
_base_ = [
    "../_base_/models/laneatt.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/laneatt_15e.py",
    "../_base_/default_runtime.py",
]

input_size = (360, 640)
pipeline = [
    dict(type="LoadImage", scale=(640, 360), backend="pil"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=(640, 360), backend="pil"),
    # Shifts of up to 25 and 10 pixels of the original image.
    dict(type="RandomAffine", rotation=6.0, scale=(0.85, 1.15), shift=(25 / 1640, 10 / 590), probability=1.0),
    dict(type="RandomFlip"),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
