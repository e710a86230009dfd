# BezierLaneNet as pytorch-auto-drive trains it: RGB images normalised as for ImageNet.
model = dict(
    type="BezierLaneNet",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type="ResNet",
        depth=18,
        out_indices=(2,),
        init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ),
    backbone_channels=256,
    adapter=dict(type="BezierAdapter"),
    loss=dict(type="BezierLaneNetLoss"),
)
