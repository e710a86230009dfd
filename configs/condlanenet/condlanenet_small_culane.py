# CondLaneNet with ResNet-18 for CULane as its authors train it: 320 x 800 of the lower 320 rows of a frame. Their further
# chances in training (JPEG's artefacts, blur, a random crop after the random move) are left out.
_base_ = [
    "../_base_/models/condlanenet.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/condlanenet_16e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth"))
)

input_size = (320, 800)
load = dict(type="LoadImage", scale=(800, 320), crop_top=270)
pipeline = [load, dict(type="PackLaneInputs")]
train_pipeline = [
    load,
    dict(type="PhotometricJitter", brightness=0.2, contrast=0.0, colour=0.04, saturation=0.06),
    dict(type="RandomAffine", rotation=10.0, scale=(0.8, 1.2), shift=(0.1, 0.1), probability=0.6),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))
