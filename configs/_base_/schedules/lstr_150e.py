# pytorch-auto-drive's schedule: Adam 2.5e-4, divided by 10 at 90 % of 150 epochs, 20 images an iteration.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2.5e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[135], gamma=0.1, by_epoch=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=150, val_interval=10)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
