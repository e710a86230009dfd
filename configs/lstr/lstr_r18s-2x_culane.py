# pytorch-auto-drive's LSTR with ResNet18s-2X for CULane: twice as wide, RGB images, at most four lanes above 0.95.
_base_ = [
    "../_base_/models/lstr.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/lstr_150e.py",
    "../_base_/default_runtime.py",
]

input_size = (288, 800)

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(widths=(32, 64, 128, 256)),
    backbone_channels=256,
    channels=64,
    feedforward_channels=256,
)
