_base_ = "./best.py"

# Errors are small from the start: fewer and smaller steps.
ptq_model = dict(quantizer=dict(bits="w8a8"))
ptq_train_cfg = dict(max_iters=100)
ptq_optim_wrapper = dict(optimizer=dict(lr=2e-5), paramwise_cfg=dict(weight_rate=1e-4, scale_rate=1e-4))
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=100, by_epoch=False)]
