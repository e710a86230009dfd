# pytorch-auto-drive's schedule: SGD 0.2, 20 images an iteration, 12 epochs, polynomial decay, 200 iterations of warm-up.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 200, by_epoch=False, begin=0, end=200),
    dict(type="PolyLR", power=0.9, by_epoch=True, begin=0, end=12, convert_to_iter_based=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
