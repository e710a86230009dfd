# LaneATT with ResNet-34 as its authors' weights expect it.
_base_ = ["./laneatt_r18_culane_authors.py"]

model = dict(backbone=dict(depth=34, init_cfg=dict(checkpoint="torchvision://resnet34")))
