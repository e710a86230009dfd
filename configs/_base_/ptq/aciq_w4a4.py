_base_ = "./aciq.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
