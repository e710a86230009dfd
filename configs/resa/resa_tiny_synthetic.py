# A small RESA for synthetic roads, 400 x 144: features of stride 16, and so a map of half the input's size. Its backbone
# starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/resa.py",
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
        init_cfg=dict(type="Pretrained", checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    backbone_channels=64,
    stride=16,
    channels=32,
    input_size=(144, 400),
    bfloat16_backbone=True,
    # Lanes are read off the map at twice the input's size, which places them better.
    adapter=dict(input_size=(288, 800)),
    # Lines 4 pixels wide on the network's own map.
    loss=dict(line_width=32.0, map_size=(72, 200)),
)
# The decoder ends in four channels, whose logits grow slowly: new layers learn faster than the backbone.
optim_wrapper = dict(optimizer=dict(lr=4e-3), paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.25)}))
