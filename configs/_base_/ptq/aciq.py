# ACIQ (Banner et al. 2019): analytical clipping and weight correction, nothing tuned. Its bits by activation channel are
# left out, since no stock runtime has them. The bits are in the files aciq_w*a*.py.
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(scheme="strict", profile="academic"),
    loss=dict(type="mmsf.SelectiveFocusLoss"),
)
ptq_train_cfg = dict(
    type="mmsf.PTQLoop",
    max_iters=0,
    weight_range=dict(type="mmsf.ACIQRange"),
    activation_range=dict(type="mmsf.ACIQRange"),
    weight_correction=True,
)
# MMEngine asks for an optimizer; it never steps.
ptq_optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.0))
ptq_param_scheduler = []
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="aciq", preset="aciq")]
