# What the small detectors of synthetic roads share: LSTR's small backbone, which starts from the bundled LSTR's weights, and
# its images. A config takes them as `_base_.tiny_backbone` and `_base_.tiny_images`. Training starts in the repository's
# root.
tiny_backbone = dict(
    type="ResNet",
    layers=(1, 2, 2, 2),
    widths=(16, 32, 64, 128),
    init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
)
tiny_images = dict(
    mean=[104.01362025, 114.03422265, 119.9165825],
    std=[73.6027614, 69.8910804, 70.91507925],
    bgr_to_rgb=False,
)
