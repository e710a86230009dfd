# pytorch-auto-drive's BezierLaneNet with ResNet-18 for CULane, 288 x 800.
_base_ = [
    "../_base_/models/bezierlanenet.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/bezierlanenet_36e.py",
    "../_base_/default_runtime.py",
]

train_pipeline = [
    dict(type="LoadImage", scale=(800, 288), backend="pil"),
    dict(type="RandomFlip"),
    dict(type="RandomAffine", rotation=10.0, scale=(0.8, 1.2), shift=(50 / 1640, 20 / 590), probability=1.0),
    dict(type="PhotometricJitter", saturation=0.3),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
