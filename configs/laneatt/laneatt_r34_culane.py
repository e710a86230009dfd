# pytorch-auto-drive's LaneATT with ResNet-34 for CULane.
_base_ = ["./laneatt_r18_culane.py"]

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint="torchvision://resnet34")))
