# What measured best (docs/method.md has the ablation): channels equalised before range estimation; tuned on the distance of
# decoded lanes, with learning rates in proportion to weights and scales; ends with the model that distorts the lanes of
# held-out calibration frames least. Where there are fewer than 512 frames, it is tuned on several versions of each. The bits
# are in the files best_w*a*.py.
_base_ = "./selective-focus.py"

ptq_iterations = 800
ptq_model = dict(loss=dict(type="mmsf.DecodedLaneLoss"))
ptq_train_cfg = dict(max_iters=ptq_iterations, equalisation=True, tuning_frames=512)
ptq_optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(weight_rate=1e-3, scale_rate=1e-3))
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=ptq_iterations, by_epoch=False)]
ptq_custom_hooks = [
    _base_.ptq_custom_hooks[0],
    dict(type="mmsf.BestMomentHook", frames=0.125, interval=50),
    dict(type="mmsf.ResultHook", method="best", preset="best"),
]
