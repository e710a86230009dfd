# A small RESA for synthetic roads, 400 x 144: features of stride 16, and so a map of half the input's size. Its backbone
# starts from the small LSTR's, whose images it takes.
_base_ = [
    "../_base_/models/resa.py",
    "../_base_/models/tiny.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=_base_.tiny_images,
    backbone=dict(_base_.tiny_backbone, _delete_=True, out_indices=(2,)),
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
