# OMSE (Choukroun et al. 2019): ranges of least square error, nothing tuned. The bits are in the files omse_w*a*.py.
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(scheme="strict", profile="academic"),
    loss=dict(type="mmsf.SelectiveFocusLoss"),
)
ptq_train_cfg = dict(
    type="mmsf.PTQLoop",
    max_iters=0,
    weight_range=dict(type="mmsf.OMSERange"),
    activation_range=dict(type="mmsf.OMSERange"),
)
# MMEngine asks for an optimizer; it never steps.
ptq_optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.0))
ptq_param_scheduler = []
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="omse", preset="omse")]
