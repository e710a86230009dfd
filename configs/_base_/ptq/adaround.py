# AdaRound (Nagel et al. 2020): the rounding of every layer's weights is learned, layer after layer, while activations are in
# float; then the activations' ranges are estimated. reconstruction.keep_probability=0.5 tunes it with QDrop's dropping, as
# the Selective Focus paper did. The bits are in the files adaround_w*a*.py.
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(scheme="strict", profile="academic"),
    # Measures the heads; the tuning itself does not see it.
    loss=dict(type="mmsf.SelectiveFocusLoss", confidence_weight=2.0, focus_power=1.0, own_units=True),
)
ptq_train_cfg = dict(
    type="mmsf.BlockwiseLoop",
    weight_range=dict(type="mmsf.MSERange"),
    activation_range=dict(type="mmsf.MSERange"),
    reconstruction=dict(units="layer", iterations=20000, batch_size=32),
    curves=dict(levels=12, span=(0.1, 10.0), frames=64, draws=2),
)
# Of every unit; its learning rate is the roundings'.
ptq_optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3, fused=True))
ptq_param_scheduler = []
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="adaround", preset="adaround")]
