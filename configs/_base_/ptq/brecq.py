# BRECQ (Li et al. 2021): as AdaRound, but block after block; then the activation scales, block after block again.
# reconstruction.objective="fisher" weighs errors by squared gradients of the detector's own loss. With
# reconstruction.keep_probability=0.5, QDrop's dropping, weights and scales are tuned together.
_base_ = "./adaround.py"

ptq_model = dict(quantizer=dict(learn_activation_scale=True))
ptq_train_cfg = dict(reconstruction=dict(units="block", scale_iterations=5000, scale_rate=4e-4))
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="brecq", preset="brecq")]
