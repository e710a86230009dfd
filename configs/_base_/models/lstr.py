# LSTR, 1x, as its authors trained it: BGR images normalised by their own mean and standard deviation.
model = dict(
    type="LSTR",
    data_preprocessor=dict(
        type="ImgDataPreprocessor",
        mean=[104.01362025, 114.03422265, 119.9165825],
        std=[73.6027614, 69.8910804, 70.91507925],
        bgr_to_rgb=False,
    ),
    backbone=dict(type="ResNet", layers=(1, 2, 2, 2), widths=(16, 32, 64, 128)),
    backbone_channels=128,
    channels=32,
    feedforward_channels=128,
    adapter=dict(type="LSTRAdapter"),
    loss=dict(type="LSTRLoss"),
)
