# pytorch-auto-drive's BezierLaneNet with ResNet-34 for CULane.
_base_ = ["./bezierlanenet_r18_culane.py"]

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet34-b627a593.pth")))
