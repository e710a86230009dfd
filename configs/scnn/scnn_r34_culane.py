# pytorch-auto-drive's SCNN with ResNet-34 for CULane, 288 x 800.
_base_ = ["./scnn_r18_culane.py"]

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet34-b627a593.pth")))
