# ACIQ with its third part: every channel of a layer's input has a grid and bits of its own; the stated bits are their mean.
# A reference that cannot be deployed: no runtime has per-channel activation bits. The bits are in aciq-full_w*a*.py.
_base_ = "./aciq.py"

ptq_model = dict(quantizer=dict(activation_channel_bits=True))
ptq_custom_hooks = [dict(type="mmsf.ResultHook", method="aciq-full", preset="aciq-full")]
