# LaneATT as pytorch-auto-drive trains it: RGB images from 0 to 1.
model = dict(
    type="LaneATT",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True),
    backbone=dict(type="ResNet", depth=18, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18")),
    backbone_channels=512,
    input_size=(360, 640),
    adapter=dict(type="LaneATTAdapter", input_width=640),
    loss=dict(type="LaneATTLoss"),
)
