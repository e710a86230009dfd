# pytorch-auto-drive's SCNN with ResNet-18 for CULane, 288 x 800.
_base_ = [
    "../_base_/models/scnn.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/scnn_12e.py",
    "../_base_/default_runtime.py",
]
