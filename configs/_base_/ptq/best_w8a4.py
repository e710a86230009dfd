_base_ = "./best.py"

# Once channels are equalised, 8-bit weights leave little to mend: fewer and smaller steps.
ptq_model = dict(quantizer=dict(bits="w8a4"))
ptq_train_cfg = dict(max_iters=400)
ptq_optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(weight_rate=3e-4, scale_rate=5e-4))
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=400, by_epoch=False)]
