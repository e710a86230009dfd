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
# The authors also blur, compress, and crop at random after the random move.
train_pipeline = [
    dict(type="LoadImage", scale=(800, 320), crop_top=270),
    dict(type="RandomFlip"),
    dict(type="RandomAffine", rotation=10.0, scale=(0.8, 1.2), shift=(0.1, 0.1), probability=0.6),
    dict(type="PhotometricJitter", brightness=0.2, contrast=0.0, colour=0.04, saturation=0.06),
    dict(type="PackLaneInputs"),
]

model = dict(
    backbone=dict(
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    )
)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
