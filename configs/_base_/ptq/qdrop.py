# QDrop (Wei et al. 2022): block after block, rounding and activation scales together, while half of the elements of every
# activation are left in float at random.
_base_ = "./adaround.py"

ptq_model = dict(quantizer=dict(learn_activation_scale=True))
ptq_train_cfg = dict(reconstruction=dict(units="block", keep_probability=0.5, scale_rate=4e-5))
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="qdrop", preset="qdrop")]
