# Adam 1e-3, warm-up of 100 iterations, linear decay over 60 epochs, gradients clipped; 32 images an iteration and GPU.
# The backbone's stem and first stage stay as they are.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3),
    clip_grad=dict(max_norm=35, norm_type=2),
    paramwise_cfg=dict(custom_keys={f"backbone.{name}": dict(lr_mult=0.0) for name in ("conv1", "bn1", "layer1")}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="PolyLR", power=1.0, begin=0, end=60, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=60)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
