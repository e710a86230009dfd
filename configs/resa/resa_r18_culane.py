# pytorch-auto-drive's RESA with ResNet-18 for CULane, 288 x 800.
_base_ = [
    "../_base_/models/resa.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/resa_12e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth"))
)
train_pipeline = [
    dict(type="LoadImage", scale=(800, 288), backend="pil"),
    dict(type="RandomAffine", rotation=3.0, scale=(1.0, 1.0), shift=(0.0, 0.0), probability=1.0),
    dict(type="PackLaneInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
