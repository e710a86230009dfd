_base_ = "./aciq-full.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
