# CondLaneNet as its authors train it for CULane: BGR images normalised by their own mean and standard deviation.
model = dict(
    type="CondLaneNet",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[75.3, 76.6, 77.6], std=[50.5, 53.8, 54.3], bgr_to_rgb=False),
    backbone=dict(type="ResNet", depth=18, out_indices=(1, 2, 3), norm_eval=True),
    input_width=800,
    adapter=dict(type="CondLaneAdapter", input_size=(320, 800)),
    loss=dict(type="CondLaneLoss"),
)
# The output convolution of the pyramid's coarsest level never runs, which several GPUs must know.
find_unused_parameters = True
