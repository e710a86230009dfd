_base_ = "./brecq.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
