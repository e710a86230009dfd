# A small SCNN for synthetic roads, 400 x 144. Its backbone starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/scnn.py",
    "../_base_/models/tiny.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=_base_.tiny_images,
    backbone=dict(_base_.tiny_backbone, _delete_=True, out_indices=(2,), replace_stride_with_dilation=(False, True, True)),
    backbone_channels=64,
    channels=32,
    input_size=(144, 400),
    bfloat16_backbone=True,
    # Lanes are read off the map at twice the input's size, which places them better.
    adapter=dict(input_size=(288, 800)),
    # Lines as wide as a cell of the network's map, which CULane's 16 pixels are at an input of 800 x 288.
    loss=dict(line_width=32.0, map_size=(72, 200)),
)
