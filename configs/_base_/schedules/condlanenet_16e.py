# Adam 3e-4, a third of it in the first 100 iterations, 16 epochs, a tenth after epochs 8 and 14; 4 images an iteration and
# GPU. The backbone's stem and first stage stay as they are.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=3e-4),
    paramwise_cfg=dict(custom_keys={f"backbone.{name}": dict(lr_mult=0.0) for name in ("conv1", "bn1", "layer1")}),
)
param_scheduler = [
    dict(type="ConstantLR", factor=1 / 3, begin=0, end=100, by_epoch=False),
    dict(type="MultiStepLR", milestones=[8, 14], gamma=0.1, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=16)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
