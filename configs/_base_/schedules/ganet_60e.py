# Adam 1e-3, warm-up of 100 iterations, linear decay over 60 epochs, gradients clipped; 32 images an iteration and GPU.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="PolyLR", power=1.0, begin=0, end=60, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=60)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
