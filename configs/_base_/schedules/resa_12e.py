# pytorch-auto-drive's schedule: SGD 0.06, 20 images an iteration, 12 epochs, polynomial decay, 500 iterations of warm-up.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.06, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 500, by_epoch=False, begin=0, end=500),
    dict(type="PolyLR", power=0.9, by_epoch=True, begin=0, end=12, convert_to_iter_based=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
