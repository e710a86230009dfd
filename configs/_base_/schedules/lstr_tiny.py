# An hour on two processor cores, from nothing.
_base_ = ["./tiny.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=1000),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=1000, end=12000, eta_min=1e-6),
]
train_cfg = dict(max_iters=12000, val_interval=2000)
