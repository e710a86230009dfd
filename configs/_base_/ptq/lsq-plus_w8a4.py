_base_ = "./lsq-plus.py"

ptq_model = dict(quantizer=dict(bits="w8a4"))
