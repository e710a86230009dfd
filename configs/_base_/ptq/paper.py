# Selective Focus as the paper has it: Adam 2.5e-5 on the weights alone for 5000 iterations, Eq. 6 as printed, the top k
# heads only. What the paper leaves open is said in docs/method.md. The bits are in the files paper_w*a*.py.
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(scheme="strict", profile="academic", learn_activation_scale=False),
    loss=dict(type="mmsf.SelectiveFocusLoss", confidence_weight=2.0, focus_power=1.0),
)
ptq_train_cfg = dict(
    type="mmsf.PTQLoop",
    max_iters=5000,
    weight_range=dict(type="mmsf.MSERange"),
    activation_range=dict(type="mmsf.MSERange"),
    curves=dict(levels=12, span=(0.1, 10.0), frames=64, draws=2),
)
ptq_optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2.5e-5))
ptq_param_scheduler = []
ptq_custom_hooks = [
    dict(type="mmsf.SensitivityHook", interval=50),
    dict(type="mmsf.ResultHook", method="selective-focus", preset="paper"),
]
