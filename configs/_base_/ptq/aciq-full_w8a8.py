_base_ = "./aciq-full.py"

ptq_model = dict(quantizer=dict(bits="w8a8"))
