# pytorch-auto-drive's LSTR with ResNet-34 for CULane.
_base_ = ["./lstr_r18s-2x_culane.py"]

model = dict(
    backbone=dict(layers=(3, 4, 6, 3), widths=(64, 128, 256, 512)),
    backbone_channels=512,
    channels=128,
    feedforward_channels=512,
)
