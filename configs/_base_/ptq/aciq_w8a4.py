_base_ = "./aciq.py"

ptq_model = dict(quantizer=dict(bits="w8a4"))
