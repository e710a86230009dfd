# LSQ+ (Bhalgat et al. 2020): quantization-aware training. It needs labels: the training split of the float config, with its
# augmentations and the detector's own loss. Weights, their scales, and scales and offsets of activations are trained; batch
# norms stay folded. LSQ (Esser et al. 2019) trains a 4-bit network as long as the float one, and so does this by default;
# train_cfg.schedule_share or train_cfg.max_iters is for less. Optimizer and rates are those of the preset selective-focus:
# after folding, weights differ by orders of magnitude between layers. Under Adam, LSQ's factor of the gradients cancels out.
# The bits are in the files lsq-plus_w*a*.py.
ptq_model = dict(
    type="mmsf.QuantWrapper",
    quantizer=dict(
        scheme="strict", profile="academic", learn_weight_scale=True, learn_activation_scale=True, learn_offset=True
    ),
    loss=None,
)
ptq_train_cfg = dict(
    type="mmsf.QATLoop",
    schedule_share=1.0,
    weight_range=dict(type="mmsf.ThreeSigmaRange"),
    # The least square error, as LSQ+ has it.
    activation_range=dict(type="mmsf.OMSERange"),
)
ptq_optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmsf.RelativeRateConstructor",
    optimizer=dict(type="Adam", lr=2e-4),
    paramwise_cfg=dict(weight_rate=1e-3),
)
# To the loop's last iteration, whichever that is.
ptq_param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False)]
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="lsq-plus", preset="lsq-plus")]
