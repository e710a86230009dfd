_base_ = "./selective-focus.py"

ptq_model = dict(quantizer=dict(bits="w8a4"))
ptq_train_cfg = dict(max_iters=250)
ptq_param_scheduler = [dict(type="CosineAnnealingLR", T_max=250, by_epoch=False)]
