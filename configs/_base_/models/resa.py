# RESA with a ResNet as pytorch-auto-drive trains it: RGB images normalised as for ImageNet.
model = dict(
    type="RESA",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="ResNet", depth=18, out_indices=(2,), replace_stride_with_dilation=(False, True, True)),
    backbone_channels=256,
    input_size=(288, 800),
    adapter=dict(type="SegmentationAdapter", input_size=(288, 800)),
    loss=dict(type="SegmentationLoss"),
)
