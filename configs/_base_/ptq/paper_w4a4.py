_base_ = "./paper.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
