# The authors' schedule: Adam 1e-4, divided by 10 at 450 000 of 500 000 iterations, 16 images each.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4))
param_scheduler = [dict(type="MultiStepLR", milestones=[450000], gamma=0.1, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=500000, val_interval=10000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
