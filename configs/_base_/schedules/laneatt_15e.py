# Adam 3e-4, 15 epochs of 8 images an iteration and GPU, cosine decay; the authors train on one GPU.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=15, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=15)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
