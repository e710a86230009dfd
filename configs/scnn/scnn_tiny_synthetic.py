# A small SCNN for synthetic roads, 400 x 144. Its backbone starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/scnn.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=dict(
        mean=[104.01362025, 114.03422265, 119.9165825],
        std=[73.6027614, 69.8910804, 70.91507925],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        _delete_=True,
        type="ResNet",
        layers=(1, 2, 2, 2),
        widths=(16, 32, 64, 128),
        out_indices=(2,),
        replace_stride_with_dilation=(False, True, True),
        init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    backbone_channels=64,
    channels=32,
    input_size=(144, 400),
    bfloat16_backbone=True,
    # Lanes are read off the map at twice the input's size, which places them better.
    adapter=dict(input_size=(288, 800)),
    # Lines as wide as a cell of the network's map, which CULane's 16 pixels are at an input of 800 x 288.
    loss=dict(line_width=32.0, map_size=(72, 200)),
)
