# A small GANet for synthetic roads, 160 x 400 of the lower 320 rows of a frame. The backbone starts from the bundled LSTR's,
# whose fourth stage has one block more. Only the first level's aggregation exists: the others would never run.
_base_ = [
    "../_base_/models/ganet.py",
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
    aggregation_channels=16,
    points=(7,),
    bfloat16_backbone=True,
    # Half the cells of CULane's input each way.
    adapter=dict(input_size=_base_.input_size, radius=2.5, min_points=5),
    loss=dict(key_points=23, lane_points=21),
)
