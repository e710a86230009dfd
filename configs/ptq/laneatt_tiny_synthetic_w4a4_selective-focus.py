_base_ = ["../laneatt/laneatt_tiny_synthetic.py", "../_base_/ptq/selective-focus_w4a4.py"]

model = dict(_delete_=True, detector=_base_.model, input_size=_base_.input_size, **_base_.ptq_model)
train_dataloader = dict(_delete_=True, **_base_.calibration_dataloader)
train_cfg = dict(_delete_=True, **_base_.ptq_train_cfg)
optim_wrapper = dict(_delete_=True, **_base_.ptq_optim_wrapper)
param_scheduler = _base_.ptq_param_scheduler
custom_hooks = _base_.ptq_custom_hooks
