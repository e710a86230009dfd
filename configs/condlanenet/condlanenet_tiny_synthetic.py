# A small CondLaneNet for synthetic roads: 160 x 400 of the lower 320 rows of a frame, half of its authors' width and height,
# and so half of their distances in cells. The backbone is LSTR's without its last block, and starts from its weights.
_base_ = [
    "../_base_/models/condlanenet.py",
    "../_base_/models/tiny.py",
    "../_base_/datasets/synthetic_lower.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=_base_.tiny_images,
    backbone=dict(_base_.tiny_backbone, _delete_=True, out_indices=(1, 2, 3), layers=(1, 2, 2, 1)),
    in_channels=(32, 64, 128),
    channels=32,
    input_width=400,
    max_seeds=16,
    bfloat16_backbone=True,
    adapter=dict(input_size=_base_.input_size, radius=2.0, best_seed=True, nearest_column=True),
    loss=dict(radius=3, band=6.0),
)
