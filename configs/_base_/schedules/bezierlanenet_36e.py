# pytorch-auto-drive's schedule: Adam 6e-4, a tenth of it for the offsets of the deformable convolution, cosine decay,
# 36 epochs of 20 images an iteration.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=6e-4),
    paramwise_cfg=dict(custom_keys={"proj2_offset": dict(lr_mult=0.1)}),
)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=36, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=36)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
