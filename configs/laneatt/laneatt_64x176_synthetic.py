# The small LaneATT on frames of a fifth of the area, 176 x 64, so that it can be quantized with tens of thousands of
# iterations a layer on a processor (docs/peers.md). Its weights do not come with mmsf.
_base_ = ["laneatt_tiny_synthetic.py"]

input_size = (64, 176)
load = dict(type="LoadImage", scale=input_size[::-1], backend="pil")
pipeline = [load, *_base_.pipeline[1:]]
nms_distance = _base_.model.adapter.nms_distance * input_size[1] / _base_.input_size[1]
model = dict(input_size=input_size, adapter=dict(input_width=input_size[1], nms_distance=nms_distance))
train_dataloader = dict(dataset=dict(pipeline=[dict(load, cache=True), *_base_.train_pipeline[1:]]))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))

param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=4000, eta_min=1e-6),
]
train_cfg = dict(max_iters=4000, val_interval=4000)
