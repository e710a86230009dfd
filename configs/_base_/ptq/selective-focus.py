# Selective Focus: net-wise tuning on the confidence-masked loss over the selected heads (Eq. 6), re-ranked from noise-score
# curves. The bits are in the files selective-focus_w*a*.py.
ptq_iterations = 400
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(scheme="strict", profile="academic", learn_activation_scale=True),
    loss=dict(type="mmsf.SelectiveFocusLoss", confidence_weight=2.0, focus_power=1.0, own_units=True),
)
ptq_train_cfg = dict(
    type="mmsf.PTQLoop",
    max_iters=ptq_iterations,
    weight_range=dict(type="mmsf.MSERange"),
    activation_range=dict(type="mmsf.MSERange"),
    curves=dict(levels=12, span=(0.1, 10.0), frames=64, draws=2),
)
ptq_optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmsf.RelativeRateConstructor",
    optimizer=dict(type="Adam", lr=2e-4),
    paramwise_cfg=dict(weight_rate=1e-3),
)
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=ptq_iterations, by_epoch=False)]
ptq_custom_hooks = [
    dict(type="mmsf.SensitivityHook", interval=50, rest_weight=0.25),
    dict(type="mmsf.ResultHook", method="selective-focus", preset="selective-focus"),
]
