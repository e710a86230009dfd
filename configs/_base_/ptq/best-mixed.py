# As `best`, with a bit plan: the layers whose quantization distorts the lanes most, with at most 5 % of the
# multiply-accumulates, get 8 bits; images of 4 bits are dithered. Little is left to mend then: smaller steps. The bits are
# in the files best-mixed_w*a*.py.
_base_ = "./best.py"

ptq_model = dict(quantizer=dict(dither_images=True))
ptq_train_cfg = dict(bit_planner=dict(budget="mac_share=0.05"))
ptq_optim_wrapper = dict(optimizer=dict(lr=1e-5), paramwise_cfg=dict(weight_rate=1e-4, scale_rate=1e-4))
ptq_custom_hooks = [*_base_.ptq_custom_hooks[:-1], dict(type="mmsf.ResultHook", method="best-mixed", preset="best-mixed")]
