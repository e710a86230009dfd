# Adam 3e-4, warm-up of 100 iterations, 16 epochs, a tenth of the rate after epochs 8 and 14; 4 images an iteration and GPU.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
    dict(type="MultiStepLR", milestones=[8, 14], gamma=0.1, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=16)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
