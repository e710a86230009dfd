# GANet as its authors train it: BGR images normalised by their own mean and standard deviation.
model = dict(
    type="GANet",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[75.3, 76.6, 77.6], std=[50.5, 53.8, 54.3], bgr_to_rgb=False),
    backbone=dict(type="ResNet", depth=18, out_indices=(1, 2, 3)),
    adapter=dict(type="GANetAdapter", input_size=(320, 800)),
    loss=dict(type="GANetLoss"),
)
# The aggregations of the coarser levels stand in the authors' files and never run; training on several GPUs must be told.
find_unused_parameters = True
