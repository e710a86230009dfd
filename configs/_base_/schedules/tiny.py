# For the small detectors of synthetic roads that start from LSTR's trained backbone: AdamW, one cycle, averaged weights.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=2500, eta_min=1e-6),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=2500, val_interval=1250)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.002, gamma=20, update_buffers=True)]
