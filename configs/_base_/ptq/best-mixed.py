# As `best`, with a bit plan: the layers whose quantization distorts the lanes most, with at most 5 % of the
# multiply-accumulates, get 8 bits. Little is left to mend then: fewer and smaller steps. The bits are in the files
# best-mixed_w*a*.py.
_base_ = "./best.py"

ptq_iterations = 300
ptq_train_cfg = dict(max_iters=ptq_iterations, bit_planner=dict(budget="mac_share=0.05"))
ptq_optim_wrapper = dict(optimizer=dict(lr=2e-5), paramwise_cfg=dict(weight_rate=2e-4, scale_rate=2e-4))
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=ptq_iterations, by_epoch=False)]
ptq_custom_hooks = [*_base_.ptq_custom_hooks[:-1], dict(type="mmsf.ResultHook", method="best-mixed", preset="best-mixed")]
